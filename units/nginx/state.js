/*
 * What is going on with the models: the files that runners replace
 * (spark_activator/state.py).  Looking at them never wakes anybody.
 */

import files from 'files.js';
import fs from 'fs';

// One line of a few hundred bytes.
const LARGEST = 64 * 1024;

// On the way to ready, the furthest first.
const COMING = ['warmup', 'graphs', 'compile', 'weights', 'container', 'memory', 'queued'];

/* The state of one model; undefined where no runner is there. */
function read(r, name) {
    const file = r.variables.spark_states + '/' + name + '.json';
    let text, state;

    try {
        text = files.read(file, LARGEST);
        state = text === undefined ? null : JSON.parse(text);
        if (state === null || typeof state.phase !== 'string' || typeof state.since !== 'number') {
            return undefined;
        }
        // Written anew at each edge between idle and busy.
        state.changed = files.stat(file).mtimeMs;
        return state;
    } catch (e) {
        r.error('Failed to read ' + file + ', ignoring: ' + e.message);
        return undefined;
    }
}

/* The states of all models that have one, by name. */
function all(r) {
    const found = {};
    let names = [];

    try {
        names = fs.readdirSync(r.variables.spark_states);
    } catch (e) {
        r.error('Failed to read ' + r.variables.spark_states + ', ignoring: ' + e.message);
    }
    names.forEach((file) => {
        const name = file.endsWith('.json') && file.charAt(0) !== '.' ? file.slice(0, -5) : '';
        const state = name === '' ? undefined : read(r, name);

        if (state !== undefined) {
            found[name] = state;
        }
    });
    return found;
}

/* Where it is, as the list of models says it. */
function word(state) {
    return state === undefined ? 'not loaded' : state.phase;
}

/* When the state's phase began, in milliseconds since 1970; undefined where that is not known. */
function began(state) {
    let uptime;

    try {
        // Runners' stamps are of the clock that counts from the boot.
        uptime = parseFloat(fs.readFileSync('/proc/uptime', 'utf8'));
    } catch (e) {
        return undefined;
    }
    return Date.now() - Math.max(0, uptime - state.since) * 1000;
}

export default { COMING, read, all, word, began };

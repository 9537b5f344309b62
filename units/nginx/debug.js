/*
 * `/debug/`: what runs and what it took, read from files in the shape that
 * clients of earlier stacks know; and touch, warm and stop, which the model's
 * activator does.
 */

import access from 'access.js';
import files from 'files.js';
import fs from 'fs';
import list from 'list.js';
import refusal from 'refusal.js';
import state from 'state.js';

const Refused = refusal.Refused;

// A line of history has some 400 bytes: the last hundred activations of one
// model, and the last forty of each where all are asked for.
const TAIL_OF_ONE = 40 * 1024;
const TAIL_OF_EACH = 16 * 1024;
const MIB = 1024 * 1024;

// What containers were called.
const PREFIX = 'vllm-';

/* Answer what is known, or return the model that has to be asked and its path. */
function answer(r, known, who, path) {
    const parts = path.split('/').slice(2);
    const name = parts.slice(1).join('/');

    access.requireAdmin(who);
    if (path === '/debug/state') {
        refusal.only(r, ['GET', 'HEAD']);
        refusal.json(r, 200, overview(r, known));
    } else if (path === '/debug/gpu-stats') {
        refusal.only(r, ['GET', 'HEAD']);
        refusal.json(r, 200, {stats: allStatistics(r, known)});
    } else if (parts[0] === 'gpu-stats' && name !== '') {
        refusal.only(r, ['GET', 'HEAD']);
        refusal.json(r, 200, oneStatistic(r, named(known, name)));
    } else if (['touch', 'warm', 'stop'].indexOf(parts[0]) >= 0 && name !== '') {
        refusal.only(r, ['POST']);
        return {model: toAsk(r, parts[0], named(known, name)), path: '/debug/' + parts[0]};
    } else {
        throw new Refused('path_not_allowed', 'there is /debug/state, /debug/gpu-stats[/MODEL], '
            + '/debug/touch/MODEL, /debug/warm/MODEL and /debug/stop/MODEL');
    }
    return undefined;
}

function named(known, name) {
    const model = list.find(known, name)
        || (name.startsWith(PREFIX) ? list.find(known, name.slice(PREFIX.length)) : undefined);

    if (model === undefined) {
        throw new Refused('model_not_found', 'no model ' + refusal.quoted(name));
    }
    return model;
}

/* A connection to its port would wake a model that is not there. */
function toAsk(r, what, model) {
    if (what !== 'warm' && state.read(r, model.name) === undefined) {
        throw new Refused('model_not_loaded', 'model ' + refusal.quoted(model.name) + ' is not loaded');
    }
    if (!list.listens(r, model)) {
        throw new Refused('model_not_enabled', 'model ' + refusal.quoted(model.name) + ' is not enabled '
            + '(run: sudo spark-model enable ' + model.name + ')');
    }
    return model;
}

function overview(r, known) {
    const models = list.all(known), states = state.all(r);
    const running = models.filter((model) => states[model.name] !== undefined)
        .map((model) => summary(model, states[model.name]));
    const lastStop = {};

    models.forEach((model) => {
        const last = history(r, model, 4096).pop();

        if (last !== undefined && last.time > 0) {
            lastStop[model.name] = last.time * 1000;
        }
    });
    return {
        modelsConfig: {
            utilityContainer: only(models.filter((model) => model.utility === true)),
            exclusiveContainers: models.filter((model) => model.exclusive === true).map(nameOf),
            modelMap: models.reduce(byName, {}),
        },
        startAtMs: running.reduce((at, each) => put(at, each.name, each.startedAt), {}),
        lastSeenMs: running.reduce((at, each) => put(at, each.name, each.lastSeen), {}),
        lastStopMs: lastStop,
        busyWith: running[0] || null,
        running: running,
        now: Date.now(),
    };
}

function nameOf(model) {
    return model.name;
}

function only(models) {
    return models.length ? models[0].name : null;
}

function byName(map, model) {
    model.names.forEach((name) => put(map, name, model.name));
    return map;
}

function put(map, key, value) {
    if (value !== null && value !== undefined) {
        map[key] = value;
    }
    return map;
}

/* One model that is there.  Times that are not known are null. */
function summary(model, now) {
    const ready = now.phase === 'ready';
    const started = ready ? state.began(now) : undefined;
    const lastSeen = ready && !now.in_flight ? now.changed : Date.now();
    const idle = Math.max(0, Date.now() - lastSeen) / 1000;
    // What is kept has no idle time.
    const stops = ready && model.idle > 0;

    return {
        name: model.name,
        state: now.phase,
        startedAt: started === undefined ? null : Math.round(started),
        startedAtISO: iso(started),
        uptimeSec: started === undefined ? null : Math.round((Date.now() - started) / 1000),
        idleSec: Math.round(idle),
        lastSeen: Math.round(lastSeen),
        lastSeenISO: iso(lastSeen),
        timeUntilReleaseSec: stops ? Math.ceil(Math.max(0, model.idle - idle)) : null,
        willAutoStop: stops,
        healthUrl: 'http://127.0.0.1:' + model.port + '/health',
        inFlight: now.in_flight || 0,
        waitingFor: now.waiting_for || '',
        position: now.position === undefined ? null : now.position,
        progress: now.progress === undefined ? null : now.progress,
        eta: now.eta === undefined ? null : now.eta,
    };
}

function iso(time) {
    return time === undefined ? null : new Date(time).toISOString();
}

function allStatistics(r, known) {
    const found = {};

    list.all(known).forEach((model) => {
        put(found, model.name, statistic(history(r, model, TAIL_OF_EACH)));
    });
    return found;
}

function oneStatistic(r, model) {
    const found = statistic(history(r, model, TAIL_OF_ONE));

    if (found === undefined) {
        throw new Refused('model_not_found', 'no run of model ' + refusal.quoted(model.name)
            + ' is recorded');
    }
    return {model: model.name, stats: found};
}

/* What the activations took, undefined without any; memory is the most that each took. */
function statistic(entries) {
    const used = entries.map((entry) => entry.memory).filter((bytes) => bytes > 0)
        .map((bytes) => Math.round(bytes / MIB));

    if (entries.length === 0) {
        return undefined;
    }
    return {
        sessions: entries.length,
        total_duration_sec: Math.round(entries.reduce((sum, entry) => sum + lasted(entry), 0)),
        min_mb: used.reduce((least, one) => least === 0 ? one : Math.min(least, one), 0),
        max_mb: used.reduce((most, one) => Math.max(most, one), 0),
        mean_mb: used.length ? Math.round(used.reduce((sum, one) => sum + one, 0) / used.length) : 0,
        last_used: iso(entries[entries.length - 1].time * 1000 || undefined),
    };
}

/* Seconds from the start of its engine to its end. */
function lasted(entry) {
    const phases = entry.phases || {};
    const began = phases.container === undefined ? phases.ready : phases.container;

    return entry.ended > began ? entry.ended - began : 0;
}

/* The activations in the last *most* bytes of a model's history, oldest first. */
function history(r, model, most) {
    const file = r.variables.spark_history + '/' + model.name + '.jsonl';

    try {
        return files.stat(file) === undefined ? []
            : tail(file, most).split('\n').map(object).filter((entry) => entry !== undefined);
    } catch (e) {
        r.error('Failed to read ' + file + ', ignoring: ' + e.message);
        return [];
    }
}

function tail(file, most) {
    const fd = fs.openSync(file, 'r');
    const bytes = Buffer.alloc(most);
    let size, read;

    try {
        size = fs.fstatSync(fd).size;
        read = fs.readSync(fd, bytes, 0, most, Math.max(0, size - most));
    } finally {
        fs.closeSync(fd);
    }
    return bytes.toString('utf8', 0, read);
}

/* One line; undefined where it is torn, or cut off at the beginning. */
function object(line) {
    let value;

    try {
        value = JSON.parse(line);
    } catch (e) {
        return undefined;
    }
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : undefined;
}

export default { answer };

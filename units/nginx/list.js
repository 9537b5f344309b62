/*
 * The list of models that spark-models.service keeps.
 *
 * It is read at each request, and has a line for each model: to find one, its
 * name is searched in the bytes and only its line is parsed.  What is not found
 * so is looked for in the parsed whole, which takes ten times as long.
 */

import files from 'files.js';
import fs from 'fs';
import refusal from 'refusal.js';

const Refused = refusal.Refused;
const NEWLINE = 0x0a, QUOTE = 0x22;

/* Read it: an object for the functions below. */
function read(r) {
    try {
        return {bytes: fs.readFileSync(r.variables.spark_routes), whole: undefined, found: {}, r: r};
    } catch (e) {
        throw unavailable(r, e.message);
    }
}

function unavailable(r, why) {
    r.error('Failed to read ' + r.variables.spark_routes + ': ' + why);
    return new Refused('routes_unavailable', 'the list of models cannot be read '
        + '(see: systemctl status spark-models.service)');
}

function whole(known) {
    if (known.whole === undefined) {
        try {
            known.whole = JSON.parse(known.bytes.toString('utf8'));
        } catch (e) {
            throw unavailable(known.r, e.message);
        }
        if (!isObject(known.whole) || !isObject(known.whole.models)) {
            throw unavailable(known.r, 'it has no models');
        }
    }
    return known.whole;
}

function isObject(value) {
    return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/* Every model.  An entry that is not what we expect costs that model alone. */
function all(known) {
    const models = whole(known).models;

    return Object.keys(models).sort().map((name) => entry(name, models[name]))
        .filter((model) => model !== undefined);
}

/* One model of the list, its names and port checked; undefined where they are wrong. */
function entry(name, value) {
    if (!isObject(value) || !Number.isInteger(value.port) || value.port < 1 || value.port > 65535
        || !Array.isArray(value.names) || !value.names.every((each) => typeof each === 'string')) {
        return undefined;
    }
    value.name = name;
    return value;
}

/* What is said of all models, under that key of the list; undefined where it is not there. */
function setting(known, key) {
    return whole(known)[key];
}

/* Origins whose pages may ask, beside our own; none where the list cannot be read. */
function origins(r) {
    let found;

    try {
        found = setting(read(r), 'origins');
    } catch (e) {
        if (!(e instanceof Refused)) {
            throw e;
        }
    }
    return Array.isArray(found) ? found : [];
}

/* The model that has this name, one that is enabled where two do; or undefined. */
function find(known, name) {
    return searched(known, name) || among(all(known), name);
}

/* Why a model of that name is no more, and what to use instead; undefined where it never was. */
function retired(known, name) {
    const all = setting(known, 'retired');
    const found = isObject(all) && Object.prototype.hasOwnProperty.call(all, name) ? all[name] : undefined;

    return isObject(found) && typeof found.reason === 'string' ? found : undefined;
}

/* Whether some model has that plain word for a name, most likely. */
function mentions(known, word) {
    return known.bytes.indexOf('"' + word + '"') >= 0;
}

function among(models, name) {
    const having = models.filter((model) => model.names.indexOf(name) >= 0);
    const enabled = having.filter((model) => model.enabled === true);

    return enabled.length ? enabled[0] : having[0];
}

/* The same by its line; undefined says nothing. */
function searched(known, name) {
    const text = JSON.stringify(name);

    if (!(text in known.found)) {
        known.found[text] = among(linesWith(known.bytes, text), name);
    }
    return known.found[text];
}

/* The models of all lines that have *text* in them. */
function linesWith(bytes, text) {
    const found = [];
    let at = bytes.indexOf(text), begin, end, model;

    while (at >= 0) {
        begin = bytes.lastIndexOf(NEWLINE, at) + 1;
        end = bytes.indexOf(NEWLINE, at);
        end = end < 0 ? bytes.length : end;
        model = line(bytes.toString('utf8', begin, end));
        if (model !== undefined) {
            found.push(model);
        }
        at = end === bytes.length ? -1 : bytes.indexOf(text, end);
    }
    return found;
}

/* The model of one line, `"name":{…},`; undefined where it is none. */
function line(text) {
    let value, name;

    try {
        value = JSON.parse('{' + (text.endsWith(',') ? text.slice(0, -1) : text) + '}');
    } catch (e) {
        return undefined;
    }
    name = Object.keys(value)[0];
    return name === undefined ? undefined : entry(name, value[name]);
}

/* The longest name that *path* begins with; undefined where there is none. */
function longestName(known, path) {
    const found = searchedNames(known, path.split('/')[0]).reduce(longer(path), undefined);

    if (found !== undefined && searched(known, found) !== undefined) {
        return found;
    }
    return all(known).reduce((names, model) => names.concat(model.names), [])
        .reduce(longer(path), undefined);
}

// Names have slashes (`openai/gpt-oss-20b`), so the longest one that fits wins.
function longer(path) {
    return (longest, name) => (path === name || path.startsWith(name + '/'))
        && (longest === undefined || name.length > longest.length) ? name : longest;
}

/* Strings in the list that begin with *start*, as they are written. */
function searchedNames(known, start) {
    const bytes = known.bytes, text = '"' + start, found = [];
    let at = bytes.indexOf(text), end;

    while (at >= 0) {
        end = bytes.indexOf(QUOTE, at + text.length);
        if (end < 0) {
            break;
        }
        found.push(bytes.toString('utf8', at + 1, end));
        at = bytes.indexOf(text, end);
    }
    return found;
}

/*
 * Whether its socket listens.  The list follows the markers a moment later, and
 * whoever has just enabled a model must not be told to enable it.
 */
function listens(r, model) {
    return model.enabled === true
        || files.stat(r.variables.spark_markers + '/' + model.name) !== undefined;
}

export default { read, all, find, retired, mentions, setting, origins, longestName, listens };

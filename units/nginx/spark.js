/*
 * Which model a request is for, and what nginx itself answers.
 *
 * A request names its model in its path (`/v1/NAME/chat/completions`) or in its
 * JSON body (`"model": "NAME"`).  We find the port of that model in the list
 * that spark-models.service keeps, and hand the request on to the activator
 * there, body untouched, with the name taken out of the path.  Nothing here
 * connects anywhere, so looking at the list never wakes a model.
 *
 * Plain old JavaScript on purpose: njs 0.7.9 (Debian 12) has neither `for-of`
 * nor destructuring nor default parameters.
 */

import fs from 'fs';

const PREFIX = '/v1/';

// First segments of the API's own paths: they win over models.  The catalog
// refuses such names (catalog/names.py; a test keeps both the same).
const API = ('audio batches chat classify completions conversations embeddings engines files '
    + 'fine_tuning images load messages models moderations pooling ping realtime rerank responses '
    + 'score tokenize detokenize uploads vector_stores version v1 v2').split(' ');

const METHODS = ['GET', 'HEAD', 'POST', 'DELETE'];

// The part of spark_activator/errors.py that can happen before an activator is
// asked: status and type of each code, and seconds until another try may help.
const KINDS = {
    invalid_request: {status: 400, type: 'invalid_request_error'},
    model_not_found: {status: 404, type: 'invalid_request_error'},
    model_not_enabled: {status: 404, type: 'invalid_request_error'},
    path_not_allowed: {status: 404, type: 'invalid_request_error'},
    method_not_allowed: {status: 405, type: 'invalid_request_error'},
    body_too_large: {status: 413, type: 'invalid_request_error'},
    routes_unavailable: {status: 503, type: 'server_error', retry: 5},
};

// Up to here a body is parsed with all the strictness of JSON.parse.  Its tree
// takes up to 50 times the body (`[[],[],[],…`) and lives as long as the
// request, so what is larger is scanned instead, which takes no memory.
const PARSED = 1024 * 1024;

// Longer names are cut in messages and have no near matches: the catalog allows
// 128, and a stranger's may have millions.
const LONGEST_NAME = 128;

function Refused(code, message, param) {
    this.code = code;
    this.message = message;
    this.param = param === undefined ? null : param;
}

/* js_content of everything below /v1/. */
function route(r) {
    try {
        answer(r);
    } catch (e) {
        if (!(e instanceof Refused)) {
            throw e;
        }
        refuse(r, e);
    }
}

function answer(r) {
    const known = load(r);
    const uri = decoded(r);
    const asked = address(uri, known);

    if (METHODS.indexOf(r.method) < 0) {
        r.headersOut['Allow'] = METHODS.join(', ');
        throw new Refused('method_not_allowed', r.method + ' is not served here');
    }
    if (asked.path === '/v1/models' && asked.name === undefined) {
        onlyLook(r);
        listing(r, known);
    } else if (asked.path.startsWith('/v1/models/') && asked.name === undefined) {
        onlyLook(r);
        // Ids have slashes: what is behind `/v1/models/` is all of it.
        single(r, known, uri.slice('/v1/models/'.length));
    } else if (asked.name === undefined) {
        byBody(r, known, asked);
    } else {
        byPath(r, known, asked);
    }
}

function load(r) {
    let text, found;

    try {
        text = fs.readFileSync(r.variables.spark_routes, 'utf8');
        found = JSON.parse(text).models;
    } catch (e) {
        r.error('Failed to read ' + r.variables.spark_routes + ': ' + e.message);
    }
    if (!found || typeof found !== 'object' || Array.isArray(found)) {
        throw new Refused('routes_unavailable', 'the list of models cannot be read '
            + "(see: systemctl status spark-models.service)");
    }

    // An entry that is not what we expect costs that model alone.
    return Object.keys(found).sort().map((key) => {
        const entry = found[key] || {};
        return {
            name: key,
            port: entry.port,
            enabled: entry.enabled === true,
            names: Array.isArray(entry.names) ? entry.names.filter(isString) : [],
            context: entry.context,
            created: entry.created || 0,
        };
    }).filter((model) => Number.isInteger(model.port) && model.port > 0 && model.port < 65536);
}

function isString(value) {
    return typeof value === 'string';
}

/* The model that has this name, one that is enabled where two do; or undefined. */
function find(known, name) {
    const having = known.filter((model) => model.names.indexOf(name) >= 0);
    const enabled = having.filter((model) => model.enabled);

    return enabled.length ? enabled[0] : having[0];
}

function described(model, name) {
    const item = {id: name, object: 'model', created: model.created, owned_by: 'spark-activator'};

    if (Number.isInteger(model.context)) {
        item.max_model_len = model.context;
    }
    return item;
}

function listing(r, known) {
    const data = [];

    known.filter((model) => model.enabled || listens(r, model)).forEach((model) => {
        model.names.forEach((name) => data.push(described(model, name)));
    });
    json(r, 200, {object: 'list', data: data});
}

function single(r, known, name) {
    json(r, 200, described(listed(r, known, name), name));
}

function onlyLook(r) {
    if (r.method !== 'GET' && r.method !== 'HEAD') {
        r.headersOut['Allow'] = 'GET, HEAD';
        throw new Refused('method_not_allowed', r.method + ' is not served here');
    }
}

/* The enabled model of that name, or a refusal that helps. */
function listed(r, known, name) {
    const model = find(known, name);

    if (model === undefined) {
        throw new Refused('model_not_found', 'no model ' + quoted(name) + hint(known, name), 'model');
    }
    if (!model.enabled && !listens(r, model)) {
        throw new Refused('model_not_enabled', 'model ' + quoted(name) + ' is not enabled '
            + '(run: sudo systemctl enable --now spark-model@' + model.name + '.socket)', 'model');
    }
    return model;
}

/*
 * Whether its socket has left its marker.  The list follows the markers a moment
 * later, and whoever has just enabled a model must not be told to enable it.
 */
function listens(r, model) {
    try {
        fs.accessSync(r.variables.spark_markers + '/' + model.name);
        return true;
    } catch (e) {
        return false;
    }
}

/*
 * Take the model out of the path: `name` is undefined where the path is the
 * API's own, and `path` is what the activator is asked.  The path that nginx has
 * decoded and normalised is encoded once more, so that both sides see the same one.
 */
function address(uri, known) {
    const rest = uri.slice(PREFIX.length);
    const segments = rest.split('/');
    let longest, end = 0, path;

    if (API.indexOf(segments[0]) >= 0) {
        return {path: encoded(uri)};
    }

    // Names have slashes (`openai/gpt-oss-20b`), so the longest one that fits wins.
    known.forEach((model) => model.names.forEach((name) => {
        if ((rest === name || rest.startsWith(name + '/'))
            && (longest === undefined || name.length > longest.length)) {
            longest = name;
        }
    }));
    if (longest === undefined) {
        // Nobody has it: what is before the API's own part was meant as the name.
        while (end < segments.length && API.indexOf(segments[end]) < 0) {
            end++;
        }
        return {name: segments.slice(0, end).join('/').replace(/\/+$/, ''), path: ''};
    }

    path = rest.slice(longest.length + 1);
    // Clients that add `/v1` to a base URL by themselves (Anthropic's) have it twice.
    path = path.startsWith('v1/') ? path.slice('v1/'.length) : path;
    return {name: longest, path: path === '' ? '' : encoded(PREFIX + path)};
}

/* The path in characters: `r.uri` has bytes before njs 0.8.5. */
function decoded(r) {
    const uri = r.rawVariables.uri.toString('utf8');

    if (uri.includes('\ufffd')) {
        throw new Refused('invalid_request', 'the path is not UTF-8');
    }
    return uri;
}

function encoded(path) {
    return path.split('/').map(encodeURIComponent).join('/');
}

function byPath(r, known, asked) {
    let model, named;

    if (asked.name === '') {
        throw new Refused('path_not_allowed', 'a path of the API is missing behind /v1/');
    }
    model = listed(r, known, asked.name);
    if (asked.path === '') {
        throw new Refused('path_not_allowed', 'model ' + quoted(asked.name) + ' needs a path of the API '
            + '(try: /v1/' + asked.name + '/chat/completions)');
    }
    // A body that is not JSON may be right (audio) or wrong: the engine says so.
    if (r.method === 'POST' && !isMultipart(r)) {
        try {
            named = modelOf(r);
        } catch (e) {
            if (!(e instanceof SyntaxError)) {
                throw e;
            }
        }
    }
    if (typeof named === 'string' && model.names.indexOf(named) < 0) {
        throw new Refused('invalid_request', 'the path names model ' + quoted(asked.name)
            + ', the body names model ' + quoted(named), 'model');
    }
    forward(r, model, asked.path);
}

function byBody(r, known, asked) {
    const instead = ' (name the model in the path: /v1/MODEL/' + asked.path.slice(PREFIX.length) + ')';
    let named;

    if (r.method !== 'POST') {
        r.headersOut['Allow'] = 'POST';
        throw new Refused('method_not_allowed', r.method + ' names no model' + instead);
    }
    if (isMultipart(r)) {
        throw new Refused('invalid_request', 'a multipart body is not searched for its model' + instead);
    }
    try {
        named = modelOf(r);
    } catch (e) {
        if (!(e instanceof SyntaxError)) {
            throw e;
        }
        throw new Refused('invalid_request', 'the body is not a JSON object: ' + e.message);
    }
    if (typeof named !== 'string' || named === '') {
        throw new Refused('invalid_request', 'the body names no model: expected a string "model"'
            + instead, 'model');
    }
    forward(r, listed(r, known, named), asked.path);
}

function forward(r, model, path) {
    r.variables.spark_port = String(model.port);
    r.variables.spark_path = path;
    // HTTP/1.0 needs none, and activators are spoken to in HTTP/1.1.
    r.variables.spark_host = r.headersIn['Host'] || 'localhost';
    r.internalRedirect('@spark_upstream');
}

function isMultipart(r) {
    return /^\s*multipart\//i.test(r.headersIn['Content-Type'] || '');
}

/*
 * The value of the body's top-level `model`; the last one where there are two,
 * as for the engines.  Raises SyntaxError where the body is no JSON object.
 */
function modelOf(r) {
    let body, value;

    try {
        body = r.requestBuffer;
    } catch (e) {
        // Only a chunked body whose framing outgrows the buffer gets there.
        throw new Refused('body_too_large', 'the body is too large for its transfer coding '
            + '(send it with Content-Length)');
    }
    if (body === undefined || body.length === 0) {
        throw new SyntaxError('it is empty');
    }
    if (body.length > PARSED) {
        return scan(body);
    }
    try {
        value = JSON.parse(r.requestText);
    } catch (e) {
        // njs gives up at 32 levels, which a tool's schema can have.
        if (/nested|stack/i.test(e.message)) {
            return scan(body);
        }
        throw new SyntaxError(e.message);
    }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) {
        throw new SyntaxError('it is something else');
    }
    return Object.prototype.hasOwnProperty.call(value, 'model') ? value.model : undefined;
}

const QUOTE = 0x22, BACKSLASH = 0x5c, COLON = 0x3a;
const OPEN_OBJECT = 0x7b, CLOSE_OBJECT = 0x7d, OPEN_ARRAY = 0x5b, CLOSE_ARRAY = 0x5d;
const STRUCTURE = [QUOTE, OPEN_OBJECT, CLOSE_OBJECT, OPEN_ARRAY, CLOSE_ARRAY];

// Bytes without structure that are looked at one by one, 90 ns each, before a
// native search for each kind of structure pays.
const NEARBY = 64;

/*
 * Find the top-level `model` without building a tree.  Strings, which are nearly
 * all of a large body, are skipped by a native search, and so are long runs of
 * numbers.  Only brackets and quotes are checked: a body that is wrong in another
 * way is refused by the engine.
 */
function scan(body) {
    const length = body.length, next = STRUCTURE.map(() => -1);
    let depth = 0, plain = 0, value, at = blank(body, 0), from, byte;

    if (body[at] !== OPEN_OBJECT) {
        throw new SyntaxError('it is something else');
    }
    while (at < length) {
        byte = body[at];
        if (byte === QUOTE) {
            from = at;
            at = closing(body, from);
            plain = 0;
            // A string with a colon behind it is a key.
            if (depth === 1 && body[blank(body, at + 1)] === COLON && text(body, from, at) === 'model') {
                value = stringBehind(body, blank(body, at + 1) + 1);
            }
        } else if (byte === OPEN_OBJECT || byte === OPEN_ARRAY) {
            depth++;
        } else if (byte === CLOSE_OBJECT || byte === CLOSE_ARRAY) {
            depth--;
            if (depth === 0) {
                break;
            }
        } else if (++plain > NEARBY) {
            at = jump(body, at, next);
            plain = 0;
            continue;
        }
        at++;
    }
    if (depth !== 0 || blank(body, at + 1) < length) {
        throw new SyntaxError('it ends too early or too late');
    }
    return value;
}

/* The value that begins behind a colon if it is a string, else undefined. */
function stringBehind(body, colon) {
    const from = blank(body, colon);

    return body[from] === QUOTE ? text(body, from, closing(body, from)) : undefined;
}

/* Where the next structure is; `next` remembers what was found for each kind. */
function jump(body, at, next) {
    let nearest = body.length, i;

    for (i = 0; i < STRUCTURE.length; i++) {
        if (next[i] < at) {
            next[i] = body.indexOf(STRUCTURE[i], at);
            next[i] = next[i] < 0 ? body.length : next[i];
        }
        nearest = Math.min(nearest, next[i]);
    }
    return nearest;
}

/* Where the first byte that is not white space is. */
function blank(body, at) {
    while (at < body.length && body[at] <= 0x20) {
        at++;
    }
    return at;
}

/* Where the string ends that begins at `from`. */
function closing(body, from) {
    let at = from, before;

    for (;;) {
        at = body.indexOf(QUOTE, at + 1);
        if (at < 0) {
            throw new SyntaxError('a string does not end');
        }
        if (body[at - 1] !== BACKSLASH) {
            return at;
        }
        // A quote behind an odd number of backslashes is a part of the string.
        before = at - 2;
        while (body[before] === BACKSLASH) {
            before--;
        }
        if ((at - before) % 2 === 1) {
            return at;
        }
    }
}

/* The string from quote to quote; cut where it is too long to be a name. */
function text(body, from, to) {
    if (to - from > 8 * LONGEST_NAME) {
        return body.toString('utf8', from + 1, from + 1 + LONGEST_NAME) + '…';
    }
    return JSON.parse(body.toString('utf8', from, to + 1));
}

function json(r, status, value) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify(value) + '\n');
}

function refuse(r, refused) {
    const kind = KINDS[refused.code];

    if (kind.retry) {
        r.headersOut['Retry-After'] = String(kind.retry);
    }
    json(r, kind.status, {error: {
        message: refused.message, type: kind.type, param: refused.param, code: refused.code,
    }});
}

function quoted(name) {
    return "'" + (name.length > LONGEST_NAME ? name.slice(0, LONGEST_NAME) + '…' : name) + "'";
}

/* ", did you mean 'a' or 'b'?", or where to look. */
function hint(known, name) {
    const near = nearest(known, name);

    if (near.length === 0) {
        return ' (GET /v1/models lists those that are enabled)';
    }
    return ', did you mean ' + near.map(quoted).join(' or ') + '?';
}

/* At most three names that are nearly this one, enabled or not, the nearest first. */
function nearest(known, name) {
    const wanted = name.toLowerCase();
    // A third of the letters, so that two that changed places in `qewn` are near
    // and `cat` is not; more than four make another name of any long one.
    const most = Math.min(4, Math.ceil(wanted.length / 3));
    const found = [];

    // Below three letters everything has it as a part.
    if (wanted.length < 3 || wanted.length > LONGEST_NAME) {
        return [];
    }
    known.forEach((model) => model.names.forEach((candidate) => {
        const other = candidate.toLowerCase();
        const distance = other.includes(wanted) || wanted.includes(other)
            ? Math.min(most, Math.abs(other.length - wanted.length))
            : edits(wanted, other, most);

        if (distance <= most) {
            found.push({name: candidate, distance: distance});
        }
    }));
    found.sort((a, b) => a.distance - b.distance || (a.name < b.name ? -1 : 1));
    return found.slice(0, 3).map((item) => item.name);
}

/* How many letters have to be changed, added or left out; anything above `most` is too many. */
function edits(a, b, most) {
    let above = [], row, i, j;

    if (Math.abs(a.length - b.length) > most) {
        return most + 1;
    }
    for (j = 0; j <= b.length; j++) {
        above.push(j);
    }
    for (i = 1; i <= a.length; i++) {
        row = [i];
        for (j = 1; j <= b.length; j++) {
            row.push(Math.min(above[j] + 1, row[j - 1] + 1,
                above[j - 1] + (a.charAt(i - 1) === b.charAt(j - 1) ? 0 : 1)));
        }
        above = row;
    }
    return above[b.length];
}

export default { route };

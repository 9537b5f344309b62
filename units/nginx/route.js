/*
 * Which model a request is for.
 *
 * A request names its model in its path (`/v1/NAME/chat/completions`) or in its
 * body (`"model": "NAME"`, or the field of a form).  We find the port of that
 * model in the list that spark-models.service keeps (list.js), and hand the
 * request on to the activator there, body untouched, with the name taken out of
 * the path.
 */

import access from 'access.js';
import auto from 'auto.js';
import body from 'body.js';
import form from 'form.js';
import list from 'list.js';
import models from 'models.js';
import near from 'near.js';
import refusal from 'refusal.js';
import responses from 'responses.js';

const Refused = refusal.Refused;
const PREFIX = '/v1/';

// First segments of the API's own paths: they win over models.  The catalog
// refuses such names (catalog/names.py; a test keeps both the same).
const API = ('audio batches chat classify completions conversations embeddings engines files '
    + 'fine_tuning images load messages models moderations pooling ping realtime rerank responses '
    + 'score tokenize detokenize uploads vector_stores version v1 v2').split(' ');

const METHODS = ['GET', 'HEAD', 'POST', 'DELETE'];

/* Everything below /v1/. */
function route(r, who) {
    const known = list.read(r);
    const uri = decoded(r);
    const asked = address(uri, known);

    refusal.only(r, METHODS);
    if (asked.path === '/v1/models' && asked.name === undefined) {
        models.listing(r, known, who);
    } else if (asked.path.startsWith('/v1/models/') && asked.name === undefined) {
        // Ids have slashes: what is behind `/v1/models/` is all of it.
        single(r, known, who, uri.slice('/v1/models/'.length));
    } else if (asked.name !== undefined) {
        byPath(r, known, who, asked);
    } else if (asked.path === '/v1/realtime') {
        byQuery(r, known, who, asked);
    } else {
        byBody(r, known, who, asked);
    }
}

function single(r, known, who, name) {
    refusal.only(r, ['GET', 'HEAD']);
    models.single(r, listed(r, known, who, name), name);
}

/* The enabled model of that name, or a refusal that helps. */
function listed(r, known, who, name) {
    const model = list.find(known, name);
    const retired = model === undefined ? list.retired(known, name) : undefined;

    if (retired !== undefined) {
        throw new Refused('model_retired', 'model ' + refusal.quoted(name) + ' is no more: ' + retired.reason
            + (retired.instead ? ' (use ' + refusal.quoted(retired.instead) + ')' : ''), 'model');
    }
    if (model === undefined) {
        throw new Refused('model_not_found', 'no model ' + refusal.quoted(name)
            + near.hint(list.all(known).filter((each) => access.permitted(who, each)), name), 'model');
    }
    if (!access.permitted(who, model)) {
        throw new Refused('model_not_permitted', 'this key is not for model ' + refusal.quoted(name), 'model');
    }
    if (!list.listens(r, model)) {
        throw new Refused('model_not_enabled', 'model ' + refusal.quoted(name) + ' is not enabled '
            + '(run: sudo spark-model enable ' + model.name + ')', 'model');
    }
    return model;
}

/* The same, or what `auto` means on that path. */
function wanted(r, known, who, name, path) {
    // A model may have that name; to parse the list for it is not worth it.
    if (name === auto.NAME && !(list.mentions(known, name) && list.find(known, name))) {
        return auto.choose(r, known, who, path);
    }
    return listed(r, known, who, name);
}

/*
 * Take the model out of the path: `name` is undefined where the path is the
 * API's own, and `path` is what the activator is asked.  The path that nginx has
 * decoded and normalised is encoded once more, so that both sides see the same one.
 */
function address(uri, known) {
    const rest = uri.slice(PREFIX.length);
    const segments = rest.split('/');
    let name, end = 0, path;

    if (API.indexOf(segments[0]) >= 0) {
        return {path: encoded(uri)};
    }
    name = list.longestName(known, rest);
    if (name === undefined && segments[0] === auto.NAME) {
        name = auto.NAME;
    }
    if (name === undefined) {
        // Nobody has it: what is before the API's own part was meant as the name.
        while (end < segments.length && API.indexOf(segments[end]) < 0) {
            end++;
        }
        return {name: segments.slice(0, end).join('/').replace(/\/+$/, ''), path: ''};
    }

    path = rest.slice(name.length + 1);
    // Clients that add `/v1` to a base URL by themselves (Anthropic's) have it twice.
    path = path.startsWith('v1/') ? path.slice('v1/'.length) : path;
    return {name: name, path: path === '' ? '' : encoded(PREFIX + path)};
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

function byPath(r, known, who, asked) {
    let model, named;

    if (asked.name === '') {
        throw new Refused('path_not_allowed', 'a path of the API is missing behind /v1/');
    }
    model = wanted(r, known, who, asked.name, asked.path);
    if (asked.path === '') {
        throw new Refused('path_not_allowed', 'model ' + refusal.quoted(asked.name)
            + ' needs a path of the API (try: /v1/' + asked.name + '/chat/completions)');
    }
    if (r.method === 'POST') {
        // A body that is neither JSON nor a form: the engine says so.
        named = whereReadable(() => nameInBody(r));
    } else if (asked.path === '/v1/realtime') {
        named = nameInQuery(r);
    }
    if (typeof named === 'string' && model.names.indexOf(named) < 0 && named !== auto.NAME) {
        throw new Refused('invalid_request', 'the path names model ' + refusal.quoted(asked.name)
            + ', the request names model ' + refusal.quoted(named), 'model');
    }
    forward(r, model, asked.path);
}

/* What *look* finds; undefined where it cannot read. */
function whereReadable(look) {
    try {
        return look();
    } catch (e) {
        if (!(e instanceof SyntaxError)) {
            throw e;
        }
        return undefined;
    }
}

function byBody(r, known, who, asked) {
    const instead = ' (name the model in the path: /v1/MODEL/' + asked.path.slice(PREFIX.length) + ')';
    let named;

    if (responses.isOne(asked.path)) {
        byResponse(r, known, who, asked);
        return;
    }
    if (asked.path.startsWith('/v1/responses/')) {
        throw new Refused('path_not_allowed', 'a response is /v1/responses/ID, with letters, digits, _ and -');
    }
    if (r.method !== 'POST') {
        r.headersOut['Allow'] = 'POST';
        throw new Refused('method_not_allowed', r.method + ' names no model' + instead);
    }
    try {
        named = nameInBody(r);
    } catch (e) {
        if (!(e instanceof SyntaxError)) {
            throw e;
        }
        throw new Refused('invalid_request', 'the body is not a '
            + (form.isForm(r) ? 'form' : 'JSON object') + ': ' + e.message);
    }
    if (typeof named !== 'string' || named === '') {
        throw new Refused('invalid_request', 'the body names no model: expected '
            + (form.isForm(r) ? "a field 'model'" : 'a string "model"') + instead, 'model');
    }
    forward(r, wanted(r, known, who, named, asked.path), asked.path);
}

function nameInBody(r) {
    return form.isForm(r) ? form.modelOf(body.bytesOf(r), r.headersIn['Content-Type']) : body.modelOf(r);
}

/* A response that an engine keeps; a cancellation may name its model in the body. */
function byResponse(r, known, who, asked) {
    const named = r.method === 'POST' ? whereReadable(() => nameInBody(r)) : undefined;

    refusal.only(r, asked.path.endsWith('/cancel') ? ['POST'] : ['GET']);
    if (typeof named === 'string' && named !== auto.NAME) {
        forward(r, listed(r, known, who, named), asked.path);
        return;
    }
    responses.whose(r, known, who, asked.path, (model) => refusal.attempt(r, () => {
        if (model === undefined) {
            throw responses.missing(asked.path);
        }
        forward(r, model, asked.path);
    }));
}

/* WebSockets have no body. */
function byQuery(r, known, who, asked) {
    const named = nameInQuery(r);

    refusal.only(r, ['GET']);
    if (named === undefined) {
        throw new Refused('invalid_request', 'the query names no model: expected ?model=NAME '
            + '(or name it in the path: /v1/MODEL/realtime)', 'model');
    }
    forward(r, listed(r, known, who, named), asked.path);
}

function nameInQuery(r) {
    const named = r.args.model;

    if (Array.isArray(named)) {
        throw new Refused('invalid_request', 'the query names two models', 'model');
    }
    return named === '' ? undefined : named;
}

function forward(r, model, path) {
    r.variables.spark_port = String(model.port);
    r.variables.spark_path = path;
    // HTTP/1.0 needs none, and activators are spoken to in HTTP/1.1.
    r.variables.spark_host = r.headersIn['Host'] || 'localhost';
    r.internalRedirect(path === '/v1/realtime' && r.headersIn['Upgrade'] !== undefined
        ? '@spark_realtime' : '@spark_upstream');
}

export default { METHODS, route, decoded, forward };

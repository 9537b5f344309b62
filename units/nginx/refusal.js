/* What is refused here, in OpenAI's shape. */

// The part of spark_activator/errors.py that can happen before an activator is
// asked: status and type of each code, and seconds until another try may help.
const KINDS = {
    invalid_request: {status: 400, type: 'invalid_request_error'},
    invalid_api_key: {status: 401, type: 'authentication_error'},
    invalid_host: {status: 403, type: 'invalid_request_error'},
    origin_not_allowed: {status: 403, type: 'invalid_request_error'},
    key_required: {status: 403, type: 'permission_error'},
    admin_required: {status: 403, type: 'permission_error'},
    model_not_permitted: {status: 403, type: 'permission_error'},
    model_not_found: {status: 404, type: 'invalid_request_error'},
    model_retired: {status: 404, type: 'invalid_request_error'},
    model_not_enabled: {status: 404, type: 'invalid_request_error'},
    model_not_loaded: {status: 404, type: 'invalid_request_error'},
    response_not_found: {status: 404, type: 'invalid_request_error'},
    path_not_allowed: {status: 404, type: 'invalid_request_error'},
    method_not_allowed: {status: 405, type: 'invalid_request_error'},
    body_too_large: {status: 413, type: 'invalid_request_error'},
    internal_error: {status: 500, type: 'server_error'},
    routes_unavailable: {status: 503, type: 'server_error', retry: 5},
};

// Longer names are cut in messages and have no near matches: the catalog allows
// 128, and a stranger's may have millions.
const LONGEST_NAME = 128;

// What a 401 has to name: how a key is sent.
const CHALLENGE = 'Bearer';

function Refused(code, message, param) {
    this.code = code;
    this.message = message;
    this.param = param === undefined ? null : param;
}

function refuse(r, refused) {
    const kind = KINDS[refused.code];

    if (kind.retry) {
        r.headersOut['Retry-After'] = String(kind.retry);
    }
    if (kind.status === 401) {
        r.headersOut['WWW-Authenticate'] = CHALLENGE;
    }
    r.headersOut['Content-Type'] = 'application/json';
    r.return(kind.status, text(refused));
}

function status(refused) {
    return KINDS[refused.code].status;
}

function text(refused) {
    return JSON.stringify({error: {
        message: refused.message, type: KINDS[refused.code].type, param: refused.param, code: refused.code,
    }}) + '\n';
}

/* Do it, and answer what it refuses. */
function attempt(r, action) {
    try {
        action();
    } catch (e) {
        if (!(e instanceof Refused)) {
            throw e;
        }
        refuse(r, e);
    }
}

function json(r, status, value) {
    r.headersOut['Content-Type'] = 'application/json';
    r.return(status, JSON.stringify(value) + '\n');
}

function quoted(name) {
    return "'" + (name.length > LONGEST_NAME ? name.slice(0, LONGEST_NAME) + '…' : name) + "'";
}

/* Insist on one of these methods. */
function only(r, methods) {
    if (methods.indexOf(r.method) < 0) {
        r.headersOut['Allow'] = methods.join(', ');
        throw new Refused('method_not_allowed', r.method + ' is not served here');
    }
}

export default { Refused, LONGEST_NAME, CHALLENGE, attempt, status, text, json, quoted, only };

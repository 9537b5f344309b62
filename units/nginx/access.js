/*
 * Who may come in: by key, by the name that is asked for, by the page that asks.
 *
 * nginx evaluates `caller` before it reads a body, and every script here asks
 * for it before it answers anything.  The activators check all of it again.
 */

import crypto from 'crypto';
import files from 'files.js';
import list from 'list.js';
import refusal from 'refusal.js';

const Refused = refusal.Refused;

// A thousand keys; nobody has as many, and each request reads them all.
const LARGEST_KEYS = 256 * 1024;
const LARGEST_HOSTS = 64 * 1024;

// nginx takes more: spaces, a fragment, `GET http://elsewhere/`, which names a
// second host, versions that there are not.  The activators do not.
const REQUEST_LINE = /^[A-Z]+ \/[!-"$-~]* HTTP\/(1\.[01]|[23]\.0)$/;
const DIGEST = /^[0-9a-f]{64}$/;
const LOOPBACK = /^(127\.|::1$|::ffff:127\.|unix:)/;
const IPV4 = /^\d{1,3}(\.\d{1,3}){3}$/;
const IPV6 = /^\[[0-9a-f:.]+\]$/;
// Pages that this machine serves to itself, and the editor's panels, which have a
// new name each time.  Not `null`: anybody's page can be that.
const OWN_ORIGIN = /^(https?:\/\/(([a-z0-9-]+\.)*localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?|vscode-webview:\/\/[a-z0-9._-]+)$/;
// What is hashed: a key has no spaces, so two of them in one field are none.
const SECRET = /^[!-~]+$/;
const KEY_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const DATE = /^(\d{4}-\d\d-\d\d)?$/;
const KEY_HAS = ['name', 'sha256', 'models', 'admin', 'added'];

/*
 * js_set: who asks, `{"key": …, "models": null or […], "admin": …}`; or, with a
 * `!` before it, the refusal.  nginx takes what does not begin with `{` for a no,
 * an exception included, and answers what is in the variables.
 */
function caller(r) {
    try {
        return JSON.stringify(admit(r));
    } catch (e) {
        if (!(e instanceof Refused)) {
            throw e;
        }
        r.variables.spark_refused = String(refusal.status(e));
        r.variables.spark_refusal = refusal.text(e);
        r.variables.spark_challenge = e.code === 'invalid_api_key' ? refusal.CHALLENGE : '';
        return '!' + JSON.stringify(e);
    }
}

/* What `caller` said, or its refusal raised. */
function ask(r) {
    const said = r.variables.spark_caller;
    let refused;

    if (!said) {
        throw new Refused('internal_error', 'nginx could not check who asks '
            + '(see: journalctl -u spark-nginx.service)');
    }
    if (said.charAt(0) === '{') {
        return JSON.parse(said);
    }
    refused = JSON.parse(said.slice(1));
    throw new Refused(refused.code, refused.message);
}

function admit(r) {
    const origin = r.headersIn['Origin'];
    const allowed = origin === undefined || originAllowed(r, origin);
    const preflight = origin !== undefined && allowed && r.method === 'OPTIONS'
        && r.headersIn['Access-Control-Request-Method'] !== undefined;
    let found;

    if (origin !== undefined) {
        r.variables.spark_vary = 'Origin';
    }
    if (origin !== undefined && allowed) {
        // The page may read refusals, too.
        r.variables.spark_origin = origin;
        r.variables.spark_exposed = r.variables.spark_exposable;
    }
    if (preflight && hostAllowed(r)) {
        // Browsers send no key with it; it is answered with what pages may send.
        return {key: '', models: [], admin: false};
    }
    found = byKey(r);
    if (!REQUEST_LINE.test(r.variables.request)) {
        throw new Refused('invalid_request', "expected a request line 'METHOD /path HTTP/1.1'");
    }
    if (!hostAllowed(r)) {
        throw new Refused('invalid_host', 'the host ' + refusal.quoted(hostName(r)) + ' is not served here '
            + '(run: sudo spark-model host add ' + refusal.quoted(hostName(r)).slice(1, -1) + ')');
    }
    if (!allowed) {
        throw new Refused('origin_not_allowed', 'pages of ' + refusal.quoted(origin) + ' may not ask '
            + '(add it to origins in host.yaml, then run: sudo spark-model apply)');
    }
    return found;
}

/* The caller by his key; anybody on this machine where there are no keys. */
function byKey(r) {
    const keys = readKeys(r);
    const given = presented(r);
    let found, i, j;

    if (keys === undefined) {
        if (!LOOPBACK.test(r.remoteAddress)) {
            throw new Refused('key_required', 'without an API key only this machine is served '
                + '(run: sudo spark-model key add NAME)');
        }
        return {key: '', models: null, admin: true};
    }
    for (i = 0; i < given.length; i++) {
        const digest = Buffer.from(crypto.createHash('sha256').update(given[i]).digest('hex'), 'hex');

        // All of them, so that the time tells nothing.
        for (j = 0; j < keys.length; j++) {
            if (same(digest, keys[j].digest) && found === undefined) {
                found = {key: keys[j].name, models: keys[j].models, admin: keys[j].admin};
            }
        }
    }
    if (found === undefined) {
        throw new Refused('invalid_api_key', 'a valid API key is needed '
            + '(send: Authorization: Bearer KEY)');
    }
    return found;
}

function same(a, b) {
    let differ = 0, i;

    for (i = 0; i < 32; i += 4) {
        differ |= a.readUInt32BE(i) ^ b.readUInt32BE(i);
    }
    return differ === 0;
}

/* What the request has for keys: OpenAI's clients say `Bearer`, others the key alone. */
function presented(r) {
    const words = (r.headersIn['Authorization'] || '').split(' ').filter((word) => word !== '');
    const given = words.length === 2 && words[0].toLowerCase() === 'bearer' ? [words[1]] : [];

    return given.concat(r.headersIn['X-Api-Key'] || '', r.headersIn['Api-Key'] || '')
        .filter((secret) => SECRET.test(secret));
}

/* All keys; undefined where there are none.  What cannot be read keeps everybody out. */
function readKeys(r) {
    let text, lines;

    try {
        text = files.read(r.variables.spark_keys, LARGEST_KEYS);
    } catch (e) {
        r.error('Failed to read ' + r.variables.spark_keys + ', nobody is let in: ' + e.message);
        return [];
    }
    lines = (text || '').split('\n')
        .filter((line) => line.trim() !== '' && line.trim().charAt(0) !== '#');
    return lines.length === 0 ? undefined : lines.map(readKey).filter((key) => key !== undefined);
}

/*
 * One line; undefined where it is no key.  A line that says more than we
 * understand is none: it may be a restriction.
 */
function readKey(line) {
    let key;

    try {
        key = Object.assign({added: '', models: null, admin: false}, JSON.parse(line));
    } catch (e) {
        return undefined;
    }
    if (!Object.keys(key).every((name) => KEY_HAS.indexOf(name) >= 0) || !isText(key.name, KEY_NAME)
        || !isText(key.sha256, DIGEST) || !isText(key.added, DATE) || typeof key.admin !== 'boolean'
        || !(key.models === null || isTexts(key.models))) {
        return undefined;
    }
    return {name: key.name, digest: Buffer.from(key.sha256, 'hex'), models: key.models, admin: key.admin};
}

function isText(value, pattern) {
    return typeof value === 'string' && pattern.test(value);
}

function isTexts(value) {
    return Array.isArray(value) && value.every((each) => typeof each === 'string');
}

/* The name of `Host`, lower case, without port and closing dot; empty without one. */
function hostName(r) {
    const given = (r.headersIn['Host'] || '').toLowerCase();
    const name = given.charAt(0) === '[' ? given.slice(0, given.indexOf(']') + 1) : given.split(':')[0];

    return name.charAt(name.length - 1) === '.' ? name.slice(0, -1) : name;
}

/* A page that had its own name resolved to us asks by that name, and is refused. */
function hostAllowed(r) {
    const name = hostName(r);
    const machine = r.variables.hostname.toLowerCase();
    const short = machine.split('.')[0];

    if (name === '') {
        // HTTP/1.0 needs none, and no browser speaks it.
        return LOOPBACK.test(r.remoteAddress);
    }
    return name === 'localhost' || name.endsWith('.localhost')
        || name === 'host.docker.internal' || IPV6.test(name)
        || (IPV4.test(name) && name.split('.').every((byte) => byte < 256))
        || [machine, short, short + '.local'].indexOf(name) >= 0
        || hostsOfTheOwner(r).indexOf(name) >= 0;
}

function hostsOfTheOwner(r) {
    try {
        return (files.read(r.variables.spark_hosts, LARGEST_HOSTS) || '').split('\n')
            .map((line) => line.split('#')[0].trim().toLowerCase().replace(/\.$/, ''));
    } catch (e) {
        r.error('Failed to read ' + r.variables.spark_hosts + ', ignoring: ' + e.message);
        return [];
    }
}

/* Whether pages of that origin may ask. */
function originAllowed(r, origin) {
    const name = origin.toLowerCase();

    return OWN_ORIGIN.test(name) || list.origins(r).some((other) => String(other).toLowerCase() === name);
}

/* Whether this caller's key is for *model*, by whichever of its names. */
function permitted(who, model) {
    return who.models === null || model.names.some((name) => who.models.indexOf(name) >= 0);
}

function requireAdmin(who) {
    if (!who.admin) {
        throw new Refused('admin_required', 'this needs a key made with --admin '
            + '(run: sudo spark-model key add NAME --admin)');
    }
}

export default { caller, ask, permitted, requireAdmin };

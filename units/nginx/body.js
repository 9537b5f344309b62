/*
 * Which model a JSON body names.
 *
 * A small body is parsed.  A large one is scanned for its top-level `model`, and
 * strings, which are nearly all of it, are skipped by a native search.
 */

import refusal from 'refusal.js';

const Refused = refusal.Refused;

// Up to here a body is parsed with all the strictness of JSON.parse.  Its tree
// takes up to 50 times the body (`[[],[],[],…`) and lives as long as the
// request, so what is larger is scanned instead, which takes no memory.
const PARSED = 1024 * 1024;

/*
 * The value of the body's top-level `model`; the last one where there are two,
 * as for the engines.  Raises SyntaxError where the body is no JSON object.
 */
function modelOf(r) {
    const body = bytesOf(r);
    let value;

    if (body.length === 0) {
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

/* The bytes of the body, empty where there is none. */
function bytesOf(r) {
    try {
        return r.requestBuffer || Buffer.alloc(0);
    } catch (e) {
        // Only a chunked body whose framing outgrows the buffer gets there.
        throw new Refused('body_too_large', 'the body is too large for its transfer coding '
            + '(send it with Content-Length)');
    }
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
    if (to - from > 8 * refusal.LONGEST_NAME) {
        return body.toString('utf8', from + 1, from + 1 + refusal.LONGEST_NAME) + '…';
    }
    return JSON.parse(body.toString('utf8', from, to + 1));
}

export default { modelOf, bytesOf };

/*
 * Which model a form names (multipart/form-data): audio comes in forms.
 *
 * Nothing but the heads of the parts is looked at, each line of them ends in
 * CRLF, and what could be read in two ways is no form: it raises a SyntaxError.
 */

import refusal from 'refusal.js';

// OpenAI's largest form, an audio transcription, has a dozen fields.
const MOST_PARTS = 64;
const LONGEST_HEAD = 4096;
const CRLF = '\r\n';

// RFC 2046; quoted or not.
const BOUNDARY = /^[0-9A-Za-z'()+_,.\/:=? -]{1,70}$/;

function isForm(r) {
    return /^multipart\//i.test((r.headersIn['Content-Type'] || '').trim());
}

/* The value of the field `model`, undefined where there is none. */
function modelOf(body, contentType) {
    const delimiter = '--' + boundary(contentType);
    let at, parts = 0, model, head, end, value;

    if (body.length === 0) {
        throw new SyntaxError('it is empty');
    }
    at = opening(body, delimiter);
    for (;;) {
        at += delimiter.length;
        if (ascii(body, at, 2) === '--') {
            return model;
        }
        if (ascii(body, at, 2) !== CRLF || ++parts > MOST_PARTS) {
            throw new SyntaxError('a boundary does not end its line, or there are over '
                + MOST_PARTS + ' parts');
        }
        head = headOf(body, at + 2);
        end = body.indexOf(CRLF + delimiter, head.end);
        // A boundary right behind the head ends an empty part for some, and is its text for others.
        if (end < 0 || ascii(body, head.end, delimiter.length) === delimiter) {
            throw new SyntaxError('the last boundary is missing');
        }
        if (head.name === 'model') {
            value = head.isFile ? undefined : valueOf(body, head.end, end);
            if (value === undefined || (model !== undefined && model !== value)) {
                throw new SyntaxError("'model' is no name, or is there twice");
            }
            model = value;
        }
        at = end + 2;
    }
}

function boundary(contentType) {
    const found = parameters(contentType).parameters.boundary;

    if (found === undefined || !BOUNDARY.test(found) || found.endsWith(' ')) {
        throw new SyntaxError('its Content-Type has no boundary');
    }
    return found;
}

/* Where the first boundary is; what comes before it counts for nothing. */
function opening(body, delimiter) {
    let at;

    if (ascii(body, 0, delimiter.length) === delimiter) {
        return 0;
    }
    at = body.indexOf(CRLF + delimiter);
    if (at < 0) {
        throw new SyntaxError('it has no boundary');
    }
    return at + 2;
}

/* The head of the part that begins at *at*: the field's name, and where the head ends. */
function headOf(body, at) {
    const near = body.subarray(at, at + LONGEST_HEAD);
    const end = near.indexOf(CRLF + CRLF);
    let disposition;

    if (end < 0) {
        throw new SyntaxError('the head of a part does not end within ' + LONGEST_HEAD + ' bytes');
    }
    near.toString('utf8', 0, end).split(CRLF).forEach((line) => {
        const colon = line.indexOf(':');

        if (colon < 1 || /[\r\n\0]/.test(line)) {
            throw new SyntaxError('the head of a part has a line that is none');
        }
        if (line.slice(0, colon).toLowerCase() === 'content-disposition') {
            if (disposition !== undefined) {
                throw new SyntaxError('a part has two names');
            }
            disposition = parameters(line.slice(colon + 1));
        }
    });
    if (disposition === undefined || disposition.value !== 'form-data') {
        throw new SyntaxError('a part has no name');
    }
    return {
        name: disposition.parameters.name,
        isFile: disposition.parameters.filename !== undefined,
        end: at + end + 4,
    };
}

/* `value; key=token; key="quoted"`, taken apart letter by letter. */
function parameters(text) {
    const pieces = split(text), found = {};
    let equals, key, value, i;

    for (i = 1; i < pieces.length; i++) {
        equals = pieces[i].indexOf('=');
        key = pieces[i].slice(0, equals < 0 ? 0 : equals).trim().toLowerCase();
        value = pieces[i].slice(equals + 1).trim();
        if (Object.prototype.hasOwnProperty.call(found, key)) {
            throw new SyntaxError('a parameter is there twice');
        }
        found[key] = unquoted(value);
    }
    return {value: pieces[0].trim().toLowerCase(), parameters: found};
}

/* At semicolons that are in no string. */
function split(text) {
    const pieces = [];
    let from = 0, inString = false, i, letter;

    for (i = 0; i < text.length; i++) {
        letter = text.charAt(i);
        if (letter === '\\' && inString) {
            i++;
        } else if (letter === '"') {
            inString = !inString;
        } else if (letter === ';' && !inString) {
            pieces.push(text.slice(from, i));
            from = i + 1;
        }
    }
    if (inString) {
        throw new SyntaxError('a string does not end');
    }
    pieces.push(text.slice(from));
    return pieces;
}

function unquoted(value) {
    if (value.charAt(0) !== '"') {
        return value;
    }
    return value.slice(1, -1).replace(/\\(.)/g, '$1');
}

/* The text from *from* to *to* if it can be a name, else undefined. */
function valueOf(body, from, to) {
    const value = to - from > 8 * refusal.LONGEST_NAME || to <= from
        ? '' : body.toString('utf8', from, to);

    return value === '' || value.indexOf('\ufffd') >= 0 ? undefined : value;
}

/* At most *length* bytes as text; what is not ASCII becomes something else. */
function ascii(body, from, length) {
    return body.toString('utf8', from, Math.min(body.length, from + length));
}

export default { isForm, modelOf };

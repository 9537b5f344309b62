/*
 * Files that may not be there.  njs takes most of a millisecond to raise an
 * error, so what is missing is told apart without one.
 */

import fs from 'fs';

/* The text of a file, undefined where there is none; raises where it is no file of at most *most* bytes. */
function read(path, most) {
    const found = stat(path);

    if (found === undefined) {
        return undefined;
    }
    // A directory reads as an empty file for some versions of njs.
    if (!found.isFile()) {
        throw new Error('it is no file');
    }
    if (found.size > most) {
        throw new Error('it has over ' + most + ' bytes');
    }
    return fs.readFileSync(path, 'utf8');
}

/* What stat(2) says, undefined where there is nothing. */
function stat(path) {
    return fs.statSync(path, {throwIfNoEntry: false});
}

export default { read, stat };

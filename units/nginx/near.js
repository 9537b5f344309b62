/* Which names are nearly the one that was asked for. */

import refusal from 'refusal.js';

/* ", did you mean 'a' or 'b'?", or where to look. */
function hint(models, name) {
    const near = nearest(models, name);

    if (near.length === 0) {
        return ' (GET /v1/models lists those that are enabled)';
    }
    return ', did you mean ' + near.map(refusal.quoted).join(' or ') + '?';
}

/* At most three names that are nearly this one, enabled or not, the nearest first. */
function nearest(models, name) {
    const wanted = name.toLowerCase();
    // A third of the letters, so that two that changed places in `qewn` are near
    // and `cat` is not; more than four make another name of any long one.
    const most = Math.min(4, Math.ceil(wanted.length / 3));
    const found = [];

    // Below three letters everything has it as a part.
    if (wanted.length < 3 || wanted.length > refusal.LONGEST_NAME) {
        return [];
    }
    models.forEach((model) => model.names.forEach((candidate) => {
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

export default { hint };

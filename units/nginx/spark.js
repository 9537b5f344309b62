/*
 * What nginx runs (spark.conf): it says who may ask, which model is asked, and
 * what is answered here.  Nothing connects anywhere but where a model is asked,
 * so looking never wakes one.
 *
 * Plain old JavaScript on purpose: njs 0.7.9 (Debian 12) has neither `for-of`
 * nor destructuring nor default parameters.
 */

import access from 'access.js';
import debug from 'debug.js';
import list from 'list.js';
import refusal from 'refusal.js';
import route from 'route.js';

const Refused = refusal.Refused;
const METHODS = route.METHODS.concat('OPTIONS').join(', ');

// What a preflight asks for is said back to it: it has to be field names.
const FIELD_NAMES = /^[a-z0-9-]+( *, *[a-z0-9-]+)*$/i;
// Seconds in which a browser does not ask again.
const MAX_AGE = '600';

/* A js_content handler: what *answer* throws is answered, too. */
function handler(answer) {
    return (r) => {
        refusal.attempt(r, () => {
            const who = access.ask(r);

            if (r.method === 'OPTIONS') {
                options(r);
            } else {
                answer(r, who);
            }
        });
    };
}

/* What pages may send, which browsers ask before they send it. */
function options(r) {
    const asked = r.headersIn['Access-Control-Request-Headers'] || '';

    r.headersOut['Allow'] = METHODS;
    if (r.variables.spark_origin) {
        r.headersOut['Access-Control-Allow-Methods'] = METHODS;
        if (FIELD_NAMES.test(asked)) {
            r.headersOut['Access-Control-Allow-Headers'] = asked;
        }
        if (r.headersIn['Access-Control-Request-Private-Network'] === 'true') {
            // A page on the internet that asks a machine at home; it is on the list.
            r.headersOut['Access-Control-Allow-Private-Network'] = 'true';
        }
        r.headersOut['Access-Control-Max-Age'] = MAX_AGE;
    }
    r.return(204);
}

/* Everything below /debug/. */
function debugging(r, who) {
    const toAsk = debug.answer(r, list.read(r), who, route.decoded(r));

    if (toAsk !== undefined) {
        route.forward(r, toAsk.model, toAsk.path);
    }
}

/* Whether nginx answers, which is all that it says. */
function health(r) {
    refusal.only(r, ['GET', 'HEAD']);
    refusal.json(r, 200, {status: 'ok'});
}

function absent() {
    throw new Refused('path_not_allowed', 'the path is not served here (the API is below /v1/)');
}

function oversized() {
    throw new Refused('body_too_large', 'the body is over 64 MiB');
}

export default {
    caller: access.caller,
    route: handler(route.route),
    debug: handler(debugging),
    health: handler(health),
    absent: handler(absent),
    oversized: handler(oversized),
};

/*
 * `GET /v1/responses/ID` and its cancellation name no model: a response lives in
 * the engine that made it.  The engines that are ready are asked, one after the
 * other; nobody is woken.
 */

import access from 'access.js';
import list from 'list.js';
import refusal from 'refusal.js';
import state from 'state.js';

const PATH = /^\/v1\/responses\/([0-9A-Za-z_-]{1,128})(\/cancel)?$/;

/* Whether *path* is of a response that is kept. */
function isOne(path) {
    return PATH.test(path);
}

/* Find the model that has it: called with the model, or with undefined. */
function whose(r, known, who, path, done) {
    const id = PATH.exec(path)[1];
    const states = state.all(r);
    const ready = Object.keys(states).filter((name) => states[name].phase === 'ready')
        .map((name) => list.find(known, name))
        .filter((model) => model !== undefined && states[model.name] !== undefined
            && access.permitted(who, model));

    askNext(r, ready, '/v1/responses/' + id, done);
}

function askNext(r, models, path, done) {
    if (models.length === 0) {
        done(undefined);
        return;
    }
    r.variables.spark_port = String(models[0].port);
    r.variables.spark_path = path;
    r.variables.spark_host = 'localhost';
    // Whoever has it answers 200; its text is not needed here.
    r.subrequest('/_spark/ask', {method: 'GET'}, (reply) => {
        if (reply.status === 200) {
            done(models[0]);
        } else {
            askNext(r, models.slice(1), path, done);
        }
    });
}

/* What is said where nobody has it. */
function missing(path) {
    return new refusal.Refused('response_not_found', 'no model that is loaded has the response '
        + refusal.quoted(PATH.exec(path)[1]) + ' (a response lives as long as its engine)');
}

export default { isOne, whose, missing };

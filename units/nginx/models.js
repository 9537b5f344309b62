/* `GET /v1/models`: every name of every model that is enabled, and what is known of it. */

import access from 'access.js';
import list from 'list.js';
import refusal from 'refusal.js';
import state from 'state.js';

/* All that this caller may ask. */
function listing(r, known, who) {
    const states = state.all(r);
    const data = [];

    refusal.only(r, ['GET', 'HEAD']);
    list.all(known).filter((model) => access.permitted(who, model) && list.listens(r, model))
        .forEach((model) => {
            model.names.forEach((name) => data.push(described(model, name, states[model.name])));
        });
    refusal.json(r, 200, {object: 'list', data: data});
}

/* One name. */
function single(r, model, name) {
    refusal.only(r, ['GET', 'HEAD']);
    refusal.json(r, 200, described(model, name, state.read(r, model.name)));
}

function described(model, name, now) {
    const item = {
        id: name,
        object: 'model',
        created: model.created || 0,
        owned_by: 'spark-activator',
        // Aliases and presets are names of one engine.
        root: model.name,
        parent: name === model.name ? null : model.name,
    };

    if (Number.isInteger(model.context)) {
        item.max_model_len = model.context;
    }
    item.capabilities = model.capabilities || {};
    item.state = state.word(now);
    return item;
}

export default { listing, single };

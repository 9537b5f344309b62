/*
 * `model: auto`: the chat model that is there.  It must not make another one go,
 * so what is loaded wins over what comes, and both over host.yaml's default.
 */

import access from 'access.js';
import list from 'list.js';
import refusal from 'refusal.js';
import state from 'state.js';

const NAME = 'auto';

const CHATS = ['/v1/chat/completions', '/v1/completions', '/v1/responses', '/v1/messages',
    '/v1/messages/count_tokens'];

/* The model that answers on that path. */
function choose(r, known, who, path) {
    const there = CHATS.indexOf(path) < 0 ? [] : loaded(r, known, who);
    const chats = there.filter((each) => each.model.utility !== true);
    const found = chats[0] || byDefault(r, known, who, path) || there[0];

    if (found !== undefined) {
        return found.model;
    }
    throw new refusal.Refused('model_not_found', CHATS.indexOf(path) < 0
        ? "'auto' is for chats: name a model"
        : "'auto' finds no chat model: none is loaded, and host.yaml has no default_model that is enabled",
        'model');
}

/* Chat models that this caller may ask, with their states: the best first. */
function loaded(r, known, who) {
    const states = state.all(r), there = [];

    Object.keys(states).forEach((name) => {
        const model = list.find(known, name);
        const rank = ['ready'].concat(state.COMING).indexOf(states[name].phase);

        if (model !== undefined && model.name === name && model.chat === true && rank >= 0
            && access.permitted(who, model) && list.listens(r, model)) {
            there.push({model: model, rank: rank, state: states[name]});
        }
    });
    // Of two that are ready the one that answers, or did last.
    return there.sort((a, b) => a.rank - b.rank
        || (b.state.in_flight > 0) - (a.state.in_flight > 0)
        || b.state.changed - a.state.changed);
}

function byDefault(r, known, who, path) {
    const name = list.setting(known, 'default_model');
    const model = typeof name === 'string' && CHATS.indexOf(path) >= 0
        ? list.find(known, name) : undefined;

    return model !== undefined && access.permitted(who, model) && list.listens(r, model)
        ? {model: model} : undefined;
}

export default { NAME, choose };

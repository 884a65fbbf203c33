/*
 * The iterator of the texts is moved only where a delta has one, so what lies between (a text
 * whose delta has none) is passed over here, and named by whoever verifies the store.
 */

#include "storage/dict_deltas.h"

#include <errno.h>

int dict_deltas_init(struct dict_deltas *deltas, struct kv *kv, struct key_dict first)
{
	uint8_t from[KEYS_DICT_BYTES];
	uint8_t to[KEYS_DICT_BYTES];
	struct kv_bytes begin = { from, sizeof(from) };
	struct kv_bytes end = { to, sizeof(to) };
	keys_put_dict(first, from);
	if (first.generation < KEYS_GENERATION_MAX)
		keys_put_dict((struct key_dict){ first.generation + 1, 0 }, to);
	else
		end = (struct kv_bytes){ 0 };
	*deltas = (struct dict_deltas){
		.deltas = kv_iterator_new(kv, KV_DICT, begin, end),
		.texts = kv_iterator_new(kv, KV_DICT_TEXT, begin, end),
		.next = first,
	};
	return deltas->deltas && deltas->texts ? 0 : -ENOMEM;
}

void dict_deltas_fini(struct dict_deltas *deltas)
{
	kv_iterator_free(deltas->deltas);
	kv_iterator_free(deltas->texts);
}

/* To the text of the next delta, or the first behind where that would be. 1: there is one. */
static int dict_deltas_find_text(struct dict_deltas *deltas, struct key_dict *ret_of)
{
	struct kv_iterator *texts = deltas->texts;
	for (; kv_iterator_is_valid(texts); kv_iterator_next(texts)) {
		struct kv_bytes key = kv_iterator_key(texts);
		int r = keys_get_dict(key.bytes, key.count, ret_of);
		if (r < 0)
			return r;
		if (ret_of->ordinal >= deltas->next.ordinal)
			return 1;
	}
	return kv_iterator_result(texts);
}

static int dict_deltas_text(struct dict_deltas *deltas, struct kv_bytes *ret_text)
{
	struct key_dict of = { 0 };
	int r = dict_deltas_find_text(deltas, &of);
	if (r < 0)
		return r;
	if (r == 0 || of.ordinal != deltas->next.ordinal)
		return -EBADMSG;
	*ret_text = kv_iterator_value(deltas->texts);
	return 0;
}

static int dict_deltas_end(struct dict_deltas *deltas)
{
	struct key_dict of;
	int r = kv_iterator_result(deltas->deltas);
	r = r < 0 ? r : dict_deltas_find_text(deltas, &of);
	return r > 0 ? -EBADMSG : r;
}

int dict_deltas_next(struct dict_deltas *deltas, struct dict_packer *packer, struct dict *dict,
        uint64_t *ret_bytes)
{
	struct kv_bytes text = { 0 };
	struct key_dict of;
	if (deltas->is_begun && kv_iterator_is_valid(deltas->deltas))
		kv_iterator_next(deltas->deltas);
	deltas->is_begun = true;
	if (!kv_iterator_is_valid(deltas->deltas))
		return dict_deltas_end(deltas);
	struct kv_bytes key = kv_iterator_key(deltas->deltas);
	struct kv_bytes value = kv_iterator_value(deltas->deltas);
	int r = keys_get_dict(key.bytes, key.count, &of);
	if (r == 0 && of.ordinal != deltas->next.ordinal)
		r = -EBADMSG;
	if (r == 0 && record_dict_has_text(value))
		r = dict_deltas_text(deltas, &text);
	r = r < 0 ? r : record_get_dict(key, value, text, packer, dict);
	if (r < 0)
		return r;
	deltas->next.ordinal++;
	*ret_bytes = key.count + value.count + text.count;
	return 1;
}

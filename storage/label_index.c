/*
 * A pair is a (name, value); its id comes from an id_map over both ids. A name has a list of its
 * pairs, to walk all values of one label.
 *
 *	pair_ids  hash(name, value) -> pair     pairs  [ {value, postings} ... ]
 *	name_ids  hash(name) -> name            names  [ {pairs} ... ]
 *
 * Postings are Roaring bitmaps: 1 to 2 bytes for each series of a frequent value. Half of all pairs
 * are of one series (a host, a pid): that one is kept without a bitmap.
 *
 * The library does not say when it is out of memory, as RocksDB does not: the process ends. What is
 * ours comes back as -ENOMEM.
 *
 * A matcher becomes a set of series as a bitmap, one bit per series; a selector is the AND of
 * these. A matcher that accepts "" also accepts every series without the label, and since accepted
 * values and refused ones are disjoint, that is: all series but those of a refused value.
 */

#include "storage/label_index.h"

#include <assert.h>
#include <errno.h>
#include <roaring/roaring.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/id_map.h"

#define LABEL_INDEX_FIRST     4
#define LABEL_INDEX_NAME_TYPE 0 /* string 0 is "" */

/* A growing array of ids. */
struct id_list {
	uint32_t *ids;
	uint32_t count;
	uint32_t capacity;
};

struct label_pair {
	uint32_t value;
	uint32_t only; /* the first series, while there is no other; or ID_NONE */
	roaring_bitmap_t *series;
};

struct label_index {
	struct id_map *pair_ids;
	struct label_pair *pairs;
	uint32_t pairs_capacity;

	struct id_map *name_ids;
	struct id_list *names; /* the pairs of each */
	uint32_t names_capacity;

	uint32_t series_count;
	size_t lists_bytes;
};

static int id_list_add(struct label_index *index, struct id_list *list, uint32_t id)
{
	if (list->count == list->capacity) {
		uint32_t capacity = list->capacity ? list->capacity * 2 : LABEL_INDEX_FIRST;
		uint32_t *ids = realloc(list->ids, capacity * sizeof(*ids));
		if (!ids)
			return -ENOMEM;
		index->lists_bytes += (capacity - list->capacity) * sizeof(*ids);
		list->ids = ids;
		list->capacity = capacity;
	}
	list->ids[list->count++] = id;
	return 0;
}

struct label_index *label_index_new(void)
{
	AUTO(label_index) index = calloc(1, sizeof(*index));
	if (!index)
		return NULL;
	index->pair_ids = id_map_new(UINT32_MAX - 1);
	index->name_ids = id_map_new(UINT32_MAX - 1);
	if (!index->pair_ids || !index->name_ids)
		return NULL;
	return TAKE(index);
}

static void label_pair_free(struct label_pair *pair)
{
	if (pair->series)
		roaring_bitmap_free(pair->series);
}

void label_index_free(struct label_index *index)
{
	if (!index)
		return;
	for (uint32_t i = 0; index->pair_ids && i < id_map_count(index->pair_ids); i++)
		label_pair_free(&index->pairs[i]);
	for (uint32_t i = 0; index->name_ids && i < id_map_count(index->name_ids); i++)
		free(index->names[i].ids);
	free(index->pairs);
	free(index->names);
	id_map_free(index->pair_ids);
	id_map_free(index->name_ids);
	free(index);
}

static struct hash128 label_index_pair_hash(uint32_t name, uint32_t value)
{
	uint32_t pair[2] = { name, value };
	return hash128_bytes(pair, sizeof(pair));
}

static struct hash128 label_index_name_hash(uint32_t name)
{
	return hash128_bytes(&name, sizeof(name));
}

/* Room for one more, before the map gives an id to it. */
static void *label_index_reserve(void *array, uint32_t count, uint32_t *capacity, size_t each)
{
	if (count < *capacity)
		return array;
	uint32_t wanted = *capacity ? *capacity * 2 : LABEL_INDEX_FIRST;
	void *grown = realloc(array, wanted * each);
	if (grown)
		*capacity = wanted;
	return grown;
}

static int label_index_name(struct label_index *index, uint32_t name, uint32_t *ret_id)
{
	bool added;
	void *names = label_index_reserve(index->names, id_map_count(index->name_ids),
	        &index->names_capacity, sizeof(*index->names));
	if (!names)
		return -ENOMEM;
	index->names = names;
	int r = id_map_intern(index->name_ids, label_index_name_hash(name), ret_id, &added);
	if (r == 0 && added)
		index->names[*ret_id] = (struct id_list){ 0 };
	return r;
}

static int label_index_pair(
        struct label_index *index, uint32_t name, uint32_t value, uint32_t *ret_id)
{
	struct hash128 hash = label_index_pair_hash(name, value);
	uint32_t id = id_map_find(index->pair_ids, hash);
	if (id != ID_NONE) {
		*ret_id = id;
		return 0;
	}

	uint32_t name_id;
	bool added;
	int r = label_index_name(index, name, &name_id);
	if (r < 0)
		return r;
	void *pairs = label_index_reserve(index->pairs, id_map_count(index->pair_ids),
	        &index->pairs_capacity, sizeof(*index->pairs));
	if (!pairs)
		return -ENOMEM;
	index->pairs = pairs;
	r = id_list_add(index, &index->names[name_id], id_map_count(index->pair_ids));
	if (r < 0)
		return r;
	r = id_map_intern(index->pair_ids, hash, &id, &added);
	if (r < 0) {
		index->names[name_id].count--;
		return r;
	}
	index->pairs[id] = (struct label_pair){ .value = value, .only = ID_NONE };
	*ret_id = id;
	return 0;
}

static int label_pair_add(struct label_pair *pair, uint32_t series)
{
	if (!pair->series && pair->only == ID_NONE) {
		pair->only = series;
		return 0;
	}
	if (!pair->series) {
		pair->series = roaring_bitmap_create();
		if (!pair->series)
			return -ENOMEM;
		roaring_bitmap_add(pair->series, pair->only);
		pair->only = ID_NONE;
	}
	roaring_bitmap_add(pair->series, series);
	return 0;
}

static bool label_pair_is_empty(const struct label_pair *pair)
{
	return pair->series ? roaring_bitmap_is_empty(pair->series) : pair->only == ID_NONE;
}

static void label_pair_add_to(const struct label_pair *pair, roaring_bitmap_t *to)
{
	if (pair->series)
		roaring_bitmap_or_inplace(to, pair->series);
	else if (pair->only != ID_NONE)
		roaring_bitmap_add(to, pair->only);
}

static int label_index_add(
        struct label_index *index, uint32_t name, uint32_t value, uint32_t series)
{
	uint32_t pair;
	int r = label_index_pair(index, name, value, &pair);
	return r < 0 ? r : label_pair_add(&index->pairs[pair], series);
}

/* Empty pairs stay. */
static void label_index_drop(
        struct label_index *index, uint32_t name, uint32_t value, uint32_t series)
{
	uint32_t pair = id_map_find(index->pair_ids, label_index_pair_hash(name, value));
	if (pair == ID_NONE)
		return;
	if (index->pairs[pair].series)
		roaring_bitmap_remove(index->pairs[pair].series, series);
	else if (index->pairs[pair].only == series)
		index->pairs[pair].only = ID_NONE;
}

static void label_index_drop_series(struct label_index *index, const struct dict *dict, uint32_t id)
{
	const struct series *series = dict_get_series(dict, id);
	const struct label *labels = dict_get_labels(dict, id);
	label_index_drop(index, LABEL_INDEX_NAME_TYPE, series->type, id);
	for (uint32_t i = 0; i < series->labels_count; i++)
		label_index_drop(index, labels[i].name, labels[i].value, id);
}

int label_index_extend(struct label_index *index, const struct dict *dict)
{
	uint32_t first = index->series_count;
	uint32_t count = dict_mark(dict).series;
	int r = 0;

	for (uint32_t id = first; id < count && r == 0; id++) {
		const struct series *series = dict_get_series(dict, id);
		const struct label *labels = dict_get_labels(dict, id);
		index->series_count = id + 1;
		r = label_index_add(index, LABEL_INDEX_NAME_TYPE, series->type, id);
		for (uint32_t i = 0; i < series->labels_count && r == 0; i++)
			r = label_index_add(index, labels[i].name, labels[i].value, id);
	}
	if (r < 0)
		label_index_truncate(index, dict, first);
	return r;
}

void label_index_truncate(struct label_index *index, const struct dict *dict, uint32_t series_count)
{
	while (index->series_count > series_count)
		label_index_drop_series(index, dict, --index->series_count);
}

/* Adds the series whose value is accepted or, inverted, those whose value is refused. */
static void label_index_mark(const struct label_index *index, const struct dict *dict,
        const struct selector *selector, uint32_t matcher, bool accepted, roaring_bitmap_t *to)
{
	const char *text = selector_matcher_name(selector, matcher);
	uint32_t name = dict_find_string(dict, text, strlen(text));
	uint32_t name_id = name == ID_NONE
	                           ? ID_NONE
	                           : id_map_find(index->name_ids, label_index_name_hash(name));
	if (name_id == ID_NONE)
		return; /* no series has it */

	const struct id_list *pairs = &index->names[name_id];
	for (uint32_t i = 0; i < pairs->count; i++) {
		const struct label_pair *pair = &index->pairs[pairs->ids[i]];
		/* Emptied by a truncation: its value may be a string that is gone. */
		if (label_pair_is_empty(pair))
			continue;
		const char *value = dict_text(dict, pair->value);
		if (selector_matcher_accepts(selector, matcher, value) == accepted)
			label_pair_add_to(pair, to);
	}
}

/* The frequent case of one value needs no walk over all values. */
static void label_index_mark_equal(const struct label_index *index, const struct dict *dict,
        const char *name, const char *value, roaring_bitmap_t *to)
{
	uint32_t name_string = dict_find_string(dict, name, strlen(name));
	uint32_t value_string = dict_find_string(dict, value, strlen(value));
	if (name_string == ID_NONE || value_string == ID_NONE)
		return;
	uint32_t pair = id_map_find(
	        index->pair_ids, label_index_pair_hash(name_string, value_string));
	if (pair != ID_NONE)
		label_pair_add_to(&index->pairs[pair], to);
}

/* ANDs one matcher into `result`. */
static int label_index_match(const struct label_index *index, const struct dict *dict,
        const struct selector *selector, uint32_t matcher, roaring_bitmap_t *result)
{
	bool accepts_absent = selector_matcher_accepts(selector, matcher, "");
	const char *value = selector_matcher_value(selector, matcher);
	roaring_bitmap_t *marked = roaring_bitmap_create();
	if (!marked)
		return -ENOMEM;
	if (!accepts_absent && selector_matcher_op(selector, matcher) == MATCHER_EQUAL)
		label_index_mark_equal(
		        index, dict, selector_matcher_name(selector, matcher), value, marked);
	else
		label_index_mark(index, dict, selector, matcher, !accepts_absent, marked);
	if (accepts_absent)
		roaring_bitmap_andnot_inplace(result, marked);
	else
		roaring_bitmap_and_inplace(result, marked);
	roaring_bitmap_free(marked);
	return 0;
}

static int label_index_match_all(const struct label_index *index, const struct dict *dict,
        const struct selector *selector, roaring_bitmap_t *result)
{
	const char *type = selector_type(selector);
	int r = 0;
	if (type) {
		roaring_bitmap_t *marked = roaring_bitmap_create();
		if (!marked)
			return -ENOMEM;
		label_index_mark_equal(index, dict, "", type, marked);
		roaring_bitmap_and_inplace(result, marked);
		roaring_bitmap_free(marked);
	}
	for (uint32_t i = 0; i < selector_matchers_count(selector) && r == 0; i++)
		r = label_index_match(index, dict, selector, i, result);
	return r;
}

int label_index_find(const struct label_index *index, const struct dict *dict,
        const struct selector *selector, uint32_t series_count, uint32_t **ret_series,
        uint32_t *ret_count)
{
	if (series_count > index->series_count)
		series_count = index->series_count;
	roaring_bitmap_t *result = series_count ? roaring_bitmap_from_range(0, series_count, 1)
	                                        : roaring_bitmap_create();
	if (!result)
		return -ENOMEM;
	int r = label_index_match_all(index, dict, selector, result);
	uint32_t count = (uint32_t)roaring_bitmap_get_cardinality(result);
	uint32_t *series = calloc((size_t)count + 1, sizeof(*series));
	if (r == 0 && !series)
		r = -ENOMEM;
	if (r == 0) {
		roaring_bitmap_to_uint32_array(result, series);
		*ret_series = TAKE(series);
		*ret_count = count;
	}
	free(series);
	roaring_bitmap_free(result);
	return r;
}

size_t label_index_memory(const struct label_index *index)
{
	/* id_map: 24 bytes per entry and up to 8 per slot. */
	size_t bytes = index->lists_bytes + index->pairs_capacity * (sizeof(*index->pairs) + 32) +
	               index->names_capacity * (sizeof(*index->names) + 32);
	for (uint32_t i = 0; i < id_map_count(index->pair_ids); i++)
		if (index->pairs[i].series)
			bytes += sizeof(*index->pairs[i].series) +
			         roaring_bitmap_portable_size_in_bytes(index->pairs[i].series);
	return bytes;
}

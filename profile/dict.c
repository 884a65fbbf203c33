/*
 * Per noun a plain array of the things and an id_map from content hash to id:
 *
 *	string_ids  hash -> id     strings [ {0,0} {1,3} {5,2} ]   bytes [ \0 cpu\0 ns\0 ]
 *	module_ids  hash -> id     modules [ none, libc, ... ]
 *	frame_ids   hash -> id     frames  [ ... ]
 *	series_ids  hash -> id     series  [ ... ]                 labels [ of all, end to end ]
 *
 * Nodes are by far the most, and have no hash in memory: they are found by (parent, frame), which
 * is dict_node.c.
 *
 * A thing's hash is taken over the hashes of what it refers to, never over ids, so it is the same
 * in every dict, and dict_remap looks a thing up by the hash it already has.
 *
 * Because things refer only to older things, a mark (five counts) is a complete earlier state.
 */

#include "profile/dict.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "profile/dict_private.h"

#define DICT_FIRST_CAPACITY 64

/* From here on an array grows by a quarter: what is moved then are pages, and waste counts. */
#define DICT_SLOW_CAPACITY (64u << 10)

/* So many frames on the way to the root are looked at together. */
#define DICT_PATH_PART 256

/* What node 0 hashes to: a text, so that the constant can be checked by anybody. */
#define DICT_ROOT_TEXT "profleet root"
/* Where a string may begin: what struct string_entry holds. */
#define DICT_OFFSETS (UINT64_C(1) << 48)

const struct dict_limits dict_limits_default = {
	.strings = 16u << 20,
	.modules = 1u << 20,
	.frames = 16u << 20,
	.nodes = 64u << 20,
	.series = 4u << 20,
	.string_bytes = 2ull << 30,
};

void *dict_grow(void *array, uint32_t *capacity, uint64_t needed, size_t each)
{
	if (needed <= *capacity)
		return array;

	uint64_t wanted = *capacity ? *capacity : DICT_FIRST_CAPACITY;
	while (wanted < needed)
		wanted += wanted < DICT_SLOW_CAPACITY ? wanted : wanted / 4;
	if (wanted > UINT32_MAX)
		wanted = UINT32_MAX;
	void *grown = needed <= wanted ? realloc(array, wanted * each) : NULL;
	if (grown)
		*capacity = (uint32_t)wanted;
	return grown;
}

/* Content is hashed as little-endian words on every machine. */
static struct hash128 dict_hash_words(uint64_t *words, size_t count)
{
	for (size_t i = 0; i < count; i++)
		words[i] = htole64(words[i]);
	return hash128_bytes(words, count * sizeof(*words));
}

static uint64_t *dict_put_hash(uint64_t *words, struct hash128 hash)
{
	words[0] = hash.low;
	words[1] = hash.high;
	return words + 2;
}

static uint64_t *dict_put_string_hash(const struct dict *dict, uint64_t *words, uint32_t id)
{
	return dict_put_hash(words, id_map_hash(dict->string_ids, id));
}

/* A borrowed string may be handed back to us, and growing may move it: then it is found again. */
static int dict_string_append(struct dict *dict, const char *bytes, size_t count)
{
	if (count + 1 > dict->limits.string_bytes - dict->bytes_count)
		return -ENOSPC;

	uint32_t id = dict->count.strings;
	struct string_entry *strings = dict_grow(
	        dict->strings, &dict->strings_capacity, (uint64_t)id + 1, sizeof(*strings));
	if (!strings)
		return -ENOMEM;
	dict->strings = strings;

	if (count + 1 > dict->bytes_capacity - dict->bytes_count) {
		size_t own_offset = (uintptr_t)bytes - (uintptr_t)dict->bytes;
		bool is_own = dict->bytes && own_offset < dict->bytes_count;
		size_t capacity = dict->bytes_capacity ? dict->bytes_capacity : 1024;
		while (count + 1 > capacity - dict->bytes_count)
			capacity *= 2;
		char *area = realloc(dict->bytes, capacity);
		if (!area)
			return -ENOMEM;
		if (is_own)
			bytes = area + own_offset;
		dict->bytes = area;
		dict->bytes_capacity = capacity;
	}

	memcpy(dict->bytes + dict->bytes_count, bytes, count);
	dict->bytes[dict->bytes_count + count] = '\0';
	dict->strings[id] = (struct string_entry){ .offset = dict->bytes_count,
		.count = (uint32_t)count };
	dict->bytes_count += count + 1;
	dict->count.strings++;
	return 0;
}

int dict_string_add(
        struct dict *dict, struct hash128 hash, const char *bytes, size_t count, uint32_t *ret_id)
{
	uint32_t id;
	bool added;
	int r = id_map_intern(dict->string_ids, hash, &id, &added);
	if (r < 0)
		return r;
	if (added) {
		r = dict_string_append(dict, bytes, count);
		if (r < 0) {
			id_map_truncate(dict->string_ids, id);
			return r;
		}
	}
	*ret_id = id;
	return 0;
}

int dict_module_add(struct dict *dict, struct hash128 hash, struct module module, uint32_t *ret_id)
{
	uint32_t id;
	bool added;
	int r = id_map_intern(dict->module_ids, hash, &id, &added);
	if (r < 0)
		return r;
	if (added) {
		struct module *modules = dict_grow(
		        dict->modules, &dict->modules_capacity, (uint64_t)id + 1, sizeof(*modules));
		if (!modules) {
			id_map_truncate(dict->module_ids, id);
			return -ENOMEM;
		}
		dict->modules = modules;
		dict->modules[id] = module;
		dict->count.modules++;
	}
	*ret_id = id;
	return 0;
}

int dict_frame_add(struct dict *dict, struct hash128 hash, struct frame frame, uint32_t *ret_id)
{
	uint32_t id;
	bool added;
	int r = id_map_intern(dict->frame_ids, hash, &id, &added);
	if (r < 0)
		return r;
	if (added) {
		r = frame_table_put(&dict->frames, id, &frame);
		if (r < 0) {
			id_map_truncate(dict->frame_ids, id);
			return r;
		}
		dict->count.frames++;
	}
	*ret_id = id;
	return 0;
}

int dict_node_add(struct dict *dict, struct node node, uint32_t *ret_id)
{
	int r = dict_nodes_add(&dict->nodes, node, dict->limits.nodes, ret_id);
	dict->count.nodes = dict->nodes.count;
	return r;
}

static int dict_series_append(
        struct dict *dict, struct series series, const struct label *labels, uint32_t labels_count)
{
	uint32_t id = dict->count.series;
	struct series *all = dict_grow(
	        dict->series, &dict->series_capacity, (uint64_t)id + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	dict->series = all;

	struct label *room = dict_grow(dict->labels, &dict->labels_capacity,
	        (uint64_t)dict->labels_count + labels_count, sizeof(*room));
	if (!room && labels_count > 0)
		return -ENOMEM;
	dict->labels = room;

	series.labels_first = dict->labels_count;
	series.labels_count = labels_count;
	dict->series[id] = series;
	for (uint32_t i = 0; i < labels_count; i++)
		dict->labels[dict->labels_count++] = labels[i];
	dict->count.series++;
	return 0;
}

int dict_series_add(struct dict *dict, struct hash128 hash, struct series series,
        const struct label *labels, uint32_t labels_count, uint32_t *ret_id)
{
	uint32_t id;
	bool added;
	int r = id_map_intern(dict->series_ids, hash, &id, &added);
	if (r < 0)
		return r;
	if (added) {
		r = dict_series_append(dict, series, labels, labels_count);
		if (r < 0) {
			id_map_truncate(dict->series_ids, id);
			return r;
		}
	}
	*ret_id = id;
	return 0;
}

/* The entries every dict begins with. */
static int dict_add_first(struct dict *dict)
{
	uint32_t id;
	int r = dict_string(dict, "", 0, &id);
	if (r < 0)
		return r;
	r = dict_module(dict, &(struct module){ 0 }, &id);
	if (r < 0)
		return r;
	struct node root = { .parent = DICT_NODE_ROOT, .frame = ID_NONE };
	return dict_node_add(dict, root, &id);
}

struct dict *dict_new(struct dict_limits limits)
{
	static _Atomic uint64_t serial;
	assert(limits.strings > 0 && limits.modules > 0 && limits.nodes > 0);
	assert(limits.string_bytes > 0 && limits.string_bytes <= DICT_OFFSETS);

	AUTO(dict) dict = calloc(1, sizeof(*dict));
	if (!dict)
		return NULL;
	dict->limits = limits;
	dict->serial = atomic_fetch_add(&serial, 1) + 1;
	dict->string_ids = id_map_new(limits.strings);
	dict->module_ids = id_map_new(limits.modules);
	dict->frame_ids = id_map_new(limits.frames);
	dict->series_ids = id_map_new(limits.series);
	if (!dict->string_ids || !dict->module_ids || !dict->frame_ids || !dict->series_ids)
		return NULL;
	if (dict_nodes_init(&dict->nodes) < 0 || dict_add_first(dict) < 0)
		return NULL;
	return TAKE(dict);
}

void dict_free(struct dict *dict)
{
	if (!dict)
		return;
	id_map_free(dict->string_ids);
	id_map_free(dict->module_ids);
	id_map_free(dict->frame_ids);
	id_map_free(dict->series_ids);
	free(dict->bytes);
	free(dict->strings);
	free(dict->modules);
	frame_table_fini(&dict->frames);
	dict_nodes_fini(&dict->nodes);
	free(dict->series);
	free(dict->labels);
	free(dict);
}

void dict_reset(struct dict *dict)
{
	id_map_reset(dict->string_ids);
	id_map_reset(dict->module_ids);
	id_map_reset(dict->frame_ids);
	frame_table_truncate(&dict->frames, dict->count.frames, 0);
	dict_nodes_reset(&dict->nodes);
	id_map_reset(dict->series_ids);
	dict->count = (struct dict_mark){ 0 };
	dict->bytes_count = 0;
	dict->labels_count = 0;
	dict->truncations++;

	int r = dict_add_first(dict);
	assert(r == 0); /* Every array had room for these before. */
}

int dict_string(struct dict *dict, const char *bytes, size_t count, uint32_t *ret_id)
{
	if (count > DICT_STRING_BYTES_MAX)
		return -EINVAL;
	if (count == 0)
		bytes = "";
	return dict_string_add(dict, hash128_bytes(bytes, count), bytes, count, ret_id);
}

int dict_cstring(struct dict *dict, const char *text, uint32_t *ret_id)
{
	return dict_string(dict, text, strlen(text), ret_id);
}

static struct hash128 dict_module_content(const struct dict *dict, const struct module *module)
{
	uint64_t words[8];
	uint64_t *at = dict_put_string_hash(dict, words, module->name);
	at = dict_put_string_hash(dict, at, module->build_id);
	*at++ = module->start;
	*at++ = module->limit;
	*at++ = module->offset;
	*at++ = module->flags;
	return dict_hash_words(words, (size_t)(at - words));
}

int dict_module(struct dict *dict, const struct module *module, uint32_t *ret_id)
{
	if (module->name >= dict->count.strings || module->build_id >= dict->count.strings)
		return -EINVAL;
	return dict_module_add(dict, dict_module_content(dict, module), *module, ret_id);
}

static struct hash128 dict_frame_content(const struct dict *dict, const struct frame *frame)
{
	uint64_t words[13];
	uint64_t *at = words;
	*at++ = (uint64_t)frame->kind | (uint64_t)frame->flags << 8;
	at = dict_put_hash(at, id_map_hash(dict->module_ids, frame->module));
	at = dict_put_string_hash(dict, at, frame->function);
	at = dict_put_string_hash(dict, at, frame->system_name);
	at = dict_put_string_hash(dict, at, frame->file);
	*at++ = frame->address;
	*at++ = (uint64_t)frame->line;
	*at++ = (uint64_t)frame->column;
	*at++ = (uint64_t)frame->start_line;
	return dict_hash_words(words, (size_t)(at - words));
}

static bool dict_frame_is_possible(const struct dict *dict, const struct frame *frame)
{
	return frame->kind >= FRAME_NATIVE && frame->kind <= FRAME_TRUNCATED &&
	       frame->flags <= (FRAME_INLINED | FRAME_FOLDED) &&
	       frame->module < dict->count.modules && frame->function < dict->count.strings &&
	       frame->system_name < dict->count.strings && frame->file < dict->count.strings;
}

int dict_frame(struct dict *dict, const struct frame *frame, uint32_t *ret_id)
{
	if (!dict_frame_is_possible(dict, frame))
		return -EINVAL;
	return dict_frame_add(dict, dict_frame_content(dict, frame), *frame, ret_id);
}

/* Where each will be looked for is asked of memory for all, before the first is. */
int dict_frames_add(struct dict *dict, const struct frame *frames, uint32_t count)
{
	struct hash128 hashes[DICT_FRAMES_AT_ONCE];
	assert(count <= DICT_FRAMES_AT_ONCE);
	for (uint32_t i = 0; i < count; i++) {
		if (!dict_frame_is_possible(dict, &frames[i]))
			return -EINVAL;
		hashes[i] = dict_frame_content(dict, &frames[i]);
		id_map_fetch(dict->frame_ids, hashes[i]);
	}
	for (uint32_t i = 0; i < count; i++) {
		uint32_t expected = dict->count.frames;
		uint32_t id;
		int r = dict_frame_add(dict, hashes[i], frames[i], &id);
		if (r < 0)
			return r;
		if (id != expected)
			return -EBADMSG;
	}
	return 0;
}

static struct hash128 dict_node_content(struct hash128 parent, struct hash128 frame)
{
	uint64_t words[4];
	dict_put_hash(dict_put_hash(words, parent), frame);
	return dict_hash_words(words, COUNT_OF(words));
}

int dict_node(struct dict *dict, uint32_t parent, uint32_t frame, uint32_t *ret_id)
{
	if (parent >= dict->count.nodes || frame >= dict->count.frames)
		return -EINVAL;
	return dict_node_add(dict, (struct node){ .parent = parent, .frame = frame }, ret_id);
}

int dict_reserve_nodes(struct dict *dict, uint32_t count)
{
	return dict_nodes_reserve(&dict->nodes, count);
}

int dict_stack(struct dict *dict, const uint32_t *frames, uint32_t depth, uint32_t *ret_node)
{
	struct dict_mark before = dict->count;
	uint32_t node = DICT_NODE_ROOT;
	for (uint32_t i = 0; i < depth; i++) {
		if (frames[i] >= dict->count.frames)
			return -EINVAL;
	}
	for (uint32_t i = depth; i > 0; i--) {
		struct node step = { .parent = node, .frame = frames[i - 1] };
		int r = dict_node_add(dict, step, &node);
		if (r < 0) {
			dict_truncate(dict, before);
			return r;
		}
	}
	*ret_node = node;
	return 0;
}

static int dict_compare_strings(const struct dict *dict, uint32_t a, uint32_t b)
{
	struct string_entry x = dict->strings[a];
	struct string_entry y = dict->strings[b];
	uint32_t common = x.count < y.count ? x.count : y.count;
	int order = memcmp(dict->bytes + x.offset, dict->bytes + y.offset, common);
	if (order != 0)
		return order;
	return x.count < y.count ? -1 : x.count > y.count;
}

/* Known ids, names ascending and not empty, no empty value, a period. */
static bool dict_series_is_possible(const struct dict *dict, const struct series *series,
        const struct label *labels, uint32_t labels_count)
{
	if (series->type >= dict->count.strings || series->unit >= dict->count.strings ||
	        series->period == 0 || labels_count > DICT_LABELS_MAX)
		return false;
	for (uint32_t i = 0; i < labels_count; i++) {
		if (labels[i].name == 0 || labels[i].name >= dict->count.strings ||
		        labels[i].value == 0 || labels[i].value >= dict->count.strings)
			return false;
		if (i > 0 && dict_compare_strings(dict, labels[i - 1].name, labels[i].name) >= 0)
			return false;
	}
	return true;
}

static struct hash128 dict_series_content(const struct dict *dict, const struct series *series,
        const struct label *labels, uint32_t labels_count)
{
	uint64_t words[5 + 4 * DICT_LABELS_MAX];
	uint64_t *at = dict_put_string_hash(dict, words, series->type);
	at = dict_put_string_hash(dict, at, series->unit);
	*at++ = series->period;
	for (uint32_t i = 0; i < labels_count; i++) {
		at = dict_put_string_hash(dict, at, labels[i].name);
		at = dict_put_string_hash(dict, at, labels[i].value);
	}
	return dict_hash_words(words, (size_t)(at - words));
}

int dict_series_sorted(struct dict *dict, const struct series *series, const struct label *labels,
        uint32_t labels_count, uint32_t *ret_id)
{
	if (!dict_series_is_possible(dict, series, labels, labels_count))
		return -EINVAL;
	struct hash128 hash = dict_series_content(dict, series, labels, labels_count);
	return dict_series_add(dict, hash, *series, labels, labels_count, ret_id);
}

int dict_series(struct dict *dict, const struct series *series, const struct label *labels,
        uint32_t labels_count, uint32_t *ret_id)
{
	if (labels_count > DICT_LABELS_MAX)
		return -EINVAL;

	/* Insertion sort: few labels, most of the time in order already. */
	struct label sorted[DICT_LABELS_MAX];
	uint32_t count = 0;
	for (uint32_t i = 0; i < labels_count; i++) {
		if (labels[i].name >= dict->count.strings || labels[i].value >= dict->count.strings)
			return -EINVAL;
		if (labels[i].name != 0 && labels[i].value == 0)
			continue;
		uint32_t place = count++;
		for (; place > 0; place--) {
			if (dict_compare_strings(dict, sorted[place - 1].name, labels[i].name) <= 0)
				break;
			sorted[place] = sorted[place - 1];
		}
		sorted[place] = labels[i];
	}
	return dict_series_sorted(dict, series, sorted, count, ret_id);
}

const char *dict_get_string(const struct dict *dict, uint32_t id, size_t *ret_count)
{
	assert(id < dict->count.strings);
	*ret_count = dict->strings[id].count;
	return dict->bytes + dict->strings[id].offset;
}

const char *dict_text(const struct dict *dict, uint32_t id)
{
	assert(id < dict->count.strings);
	return dict->bytes + dict->strings[id].offset;
}

const struct module *dict_get_module(const struct dict *dict, uint32_t id)
{
	assert(id < dict->count.modules);
	return &dict->modules[id];
}

struct frame dict_get_frame(const struct dict *dict, uint32_t id)
{
	assert(id < dict->count.frames);
	return frame_table_get(&dict->frames, id);
}

const struct node *dict_get_nodes(const struct dict *dict)
{
	return dict->nodes.all;
}

struct node dict_get_node(const struct dict *dict, uint32_t id)
{
	assert(id < dict->count.nodes);
	return dict->nodes.all[id];
}

const struct series *dict_get_series(const struct dict *dict, uint32_t id)
{
	assert(id < dict->count.series);
	return &dict->series[id];
}

const struct label *dict_get_labels(const struct dict *dict, uint32_t series)
{
	assert(series < dict->count.series);
	uint32_t first = dict->series[series].labels_first;
	return dict->labels ? dict->labels + first : NULL;
}

uint32_t dict_label_value(const struct dict *dict, uint32_t series, uint32_t name)
{
	const struct label *labels = dict_get_labels(dict, series);
	for (uint32_t i = 0; i < dict->series[series].labels_count; i++) {
		if (labels[i].name == name)
			return labels[i].value;
	}
	return 0;
}

uint32_t dict_find_string(const struct dict *dict, const char *bytes, size_t count)
{
	return id_map_find(dict->string_ids, hash128_bytes(count ? bytes : "", count));
}

static uint32_t dict_depth(const struct dict *dict, uint32_t node)
{
	uint32_t depth = 0;
	for (; node != DICT_NODE_ROOT; node = dict->nodes.all[node].parent)
		depth++;
	return depth;
}

/* From the root down, and the path lies from the leaf up: part by part, each found from the leaf.
 */
struct hash128 dict_node_hash(const struct dict *dict, uint32_t node)
{
	assert(node < dict->count.nodes);
	struct hash128 hash = hash128_bytes(DICT_ROOT_TEXT, sizeof(DICT_ROOT_TEXT) - 1);
	uint32_t frames[DICT_PATH_PART];
	for (uint32_t left = dict_depth(dict, node); left > 0;) {
		uint32_t part = left < DICT_PATH_PART ? left : DICT_PATH_PART;
		uint32_t at = node;
		for (uint32_t i = part; i < left; i++)
			at = dict->nodes.all[at].parent;
		for (uint32_t i = 0; i < part; i++) {
			frames[i] = dict->nodes.all[at].frame;
			at = dict->nodes.all[at].parent;
		}
		for (uint32_t i = part; i > 0; i--)
			hash = dict_node_content(hash, id_map_hash(dict->frame_ids, frames[i - 1]));
		left -= part;
	}
	return hash;
}

struct hash128 dict_frame_hash(const struct dict *dict, uint32_t frame)
{
	return id_map_hash(dict->frame_ids, frame);
}

struct hash128 dict_series_hash(const struct dict *dict, uint32_t series)
{
	return id_map_hash(dict->series_ids, series);
}

struct dict_mark dict_mark(const struct dict *dict)
{
	return dict->count;
}

struct dict_mark dict_mark_from_first(struct dict_mark mark)
{
	mark.strings = mark.strings ? mark.strings : 1;
	mark.modules = mark.modules ? mark.modules : 1;
	mark.nodes = mark.nodes ? mark.nodes : 1;
	return mark;
}

bool dict_mark_is_within(struct dict_mark mark, struct dict_mark count)
{
	return mark.strings <= count.strings && mark.modules <= count.modules &&
	       mark.frames <= count.frames && mark.nodes <= count.nodes &&
	       mark.series <= count.series;
}

bool dict_mark_equal(struct dict_mark a, struct dict_mark b)
{
	return dict_mark_is_within(a, b) && dict_mark_is_within(b, a);
}

void dict_truncate(struct dict *dict, struct dict_mark mark)
{
	mark = dict_mark_from_first(mark);
	assert(dict_mark_is_within(mark, dict->count));
	if (dict_mark_equal(mark, dict->count))
		return;

	id_map_truncate(dict->string_ids, mark.strings);
	id_map_truncate(dict->module_ids, mark.modules);
	id_map_truncate(dict->frame_ids, mark.frames);
	frame_table_truncate(&dict->frames, dict->count.frames, mark.frames);
	dict_nodes_truncate(&dict->nodes, mark.nodes);
	id_map_truncate(dict->series_ids, mark.series);

	struct string_entry last = dict->strings[mark.strings - 1];
	dict->bytes_count = last.offset + last.count + 1;
	dict->labels_count = 0;
	if (mark.series > 0) {
		const struct series *series = &dict->series[mark.series - 1];
		dict->labels_count = series->labels_first + series->labels_count;
	}
	dict->count = mark;
	dict->truncations++;
}

static bool dict_count_is_past(uint64_t count, uint64_t limit, uint32_t divisor)
{
	return count > limit / divisor;
}

bool dict_is_past(const struct dict *dict, uint32_t divisor)
{
	return dict_count_is_past(dict->count.strings, dict->limits.strings, divisor) ||
	       dict_count_is_past(dict->count.modules, dict->limits.modules, divisor) ||
	       dict_count_is_past(dict->count.frames, dict->limits.frames, divisor) ||
	       dict_count_is_past(dict->count.nodes, dict->limits.nodes, divisor) ||
	       dict_count_is_past(dict->count.series, dict->limits.series, divisor) ||
	       dict_count_is_past(dict->bytes_count, dict->limits.string_bytes, divisor);
}

size_t dict_memory(const struct dict *dict)
{
	return sizeof(*dict) + dict->bytes_capacity +
	       dict->strings_capacity * sizeof(*dict->strings) +
	       dict->modules_capacity * sizeof(*dict->modules) + frame_table_memory(&dict->frames) +
	       dict_nodes_memory(&dict->nodes) + dict->series_capacity * sizeof(*dict->series) +
	       dict->labels_capacity * sizeof(*dict->labels) + id_map_memory(dict->string_ids) +
	       id_map_memory(dict->module_ids) + id_map_memory(dict->frame_ids) +
	       id_map_memory(dict->series_ids);
}

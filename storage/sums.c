/*
 * Most questions have one group and come with whole dictionaries: these are kept as they are, as
 * runs, until the rows are taken; rows that come one series after the other are put behind each
 * other in a run of their own, `loose`. One ascending run is the rows already. Of others, the nodes
 * are first gathered in a set of bits, so that what is added into is as long as there are stacks,
 * and not as there are nodes in the store: it fits the cache where the vector does not.
 *
 * The vector takes what is in no run, and is there when something is: zeroing one is what a small
 * question would take its time for. A byte per stretch of nodes remembers which stretches to look
 * at in the end. Where others that share the bound have left no room for it, the table takes all.
 *
 * The table probes linearly over (group, node) as one key; a zero value marks an empty place, as
 * no sum is zero.
 */

#include "storage/sums.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/fetch.h"
#include "storage/stack_set.h"

#define SUMS_SLOTS_FIRST   1024
#define SUMS_RUN_ROW_BYTES (sizeof(uint32_t) + sizeof(uint64_t))
#define SUMS_RUNS_MAX      4096
#define SUMS_LOOSE_FIRST   4096
#define SUMS_LOOSE_SHARE   4   /* loose rows are at most a part of the nodes: they may be alike */
#define SUMS_STRETCH_NODES 512 /* of eight bytes: a page */
#define SUMS_VECTOR_SHARE  4   /* beside vectors so much of the bound is for rows */

struct sums_slot {
	uint64_t key;
	uint64_t value;
};

/* No value is 0. */
struct sums_run {
	uint32_t *nodes;
	uint64_t *values;
	uint32_t count;
	bool is_ascending; /* and no node twice */
};

struct sums {
	const uint32_t *groups;
	uint32_t groups_count;
	uint32_t nodes_count; /* of the vector; 0 when there is none */
	struct sums_bound *bound;
	uint64_t memory; /* of what is in the bound: of these sums */

	uint64_t *vector; /* [group * nodes_count + node], or NULL: nothing came for it so far */
	uint8_t *touched; /* per stretch of the vector */
	uint64_t vector_used;

	struct sums_slot *slots;
	uint64_t slots_count; /* a power of 2, or 0 */
	uint64_t slots_used;

	struct sums_run *runs; /* where there is one group */
	uint32_t runs_count, runs_capacity;
	uint64_t runs_rows;
	struct sums_run loose; /* not one of `runs`, but counted in runs_rows */
	uint32_t loose_capacity;
	bool is_scattered; /* something was added that is in no run */
};

struct sums *sums_new(const uint32_t *groups, uint32_t groups_count, uint32_t nodes_count,
        struct sums_bound *bound)
{
	AUTO(sums) sums = calloc(1, sizeof(*sums));
	if (!sums)
		return NULL;
	sums->groups = groups;
	sums->groups_count = groups_count;
	sums->bound = bound;

	uint64_t places = (uint64_t)groups_count * nodes_count;
	if (places <= bound->memory_max / 2 / sizeof(*sums->vector))
		sums->nodes_count = nodes_count;
	return TAKE(sums);
}

static void sums_run_fini(struct sums_run *run)
{
	free(run->nodes);
	free(run->values);
	*run = (struct sums_run){ 0 };
}

/* All that sums are of; they are as new. */
static void sums_empty(struct sums *sums)
{
	for (uint32_t i = 0; i < sums->runs_count; i++)
		sums_run_fini(&sums->runs[i]);
	sums_run_fini(&sums->loose);
	free(sums->runs);
	free(sums->vector);
	free(sums->touched);
	free(sums->slots);
	sums->bound->memory -= sums->memory;
	sums->bound->runs_rows -= sums->runs_rows;
	*sums = (struct sums){ .groups = sums->groups,
		.groups_count = sums->groups_count,
		.nodes_count = sums->nodes_count,
		.bound = sums->bound };
}

void sums_free(struct sums *sums)
{
	if (!sums)
		return;
	sums_empty(sums);
	free(sums);
}

static uint64_t sums_vector_bytes(const struct sums *sums)
{
	return (uint64_t)sums->groups_count * sums->nodes_count * sizeof(*sums->vector);
}

uint64_t sums_memory_next(const struct sums *sums)
{
	return sums->vector ? 0 : sums_vector_bytes(sums);
}

/* Is there room for so much? Then it is taken. */
static bool sums_claim(struct sums *sums, uint64_t bytes)
{
	struct sums_bound *bound = sums->bound;
	if (bound->memory > bound->memory_max || bytes > bound->memory_max - bound->memory)
		return false;
	bound->memory += bytes;
	sums->memory += bytes;
	return true;
}

static void sums_give_back(struct sums *sums, uint64_t bytes)
{
	sums->bound->memory -= bytes;
	sums->memory -= bytes;
}

/* Rows of runs come and go; where they are put there was room for more than them. */
static void sums_count_rows(struct sums *sums, uint32_t count)
{
	sums->runs_rows += count;
	sums->bound->runs_rows += count;
	sums->memory += count * SUMS_RUN_ROW_BYTES;
	sums->bound->memory += count * SUMS_RUN_ROW_BYTES;
}

static void sums_uncount_rows(struct sums *sums, uint32_t count)
{
	sums->runs_rows -= count;
	sums->bound->runs_rows -= count;
	sums_give_back(sums, count * SUMS_RUN_ROW_BYTES);
}

static struct sums_slot *sums_slot(struct sums_slot *slots, uint64_t slots_count, uint64_t key)
{
	/* Fibonacci hashing: neighbouring nodes must not fall onto neighbouring runs. */
	uint64_t i = key * UINT64_C(0x9e3779b97f4a7c15);
	i ^= i >> 32;
	for (;; i++) {
		struct sums_slot *slot = &slots[i & (slots_count - 1)];
		if (slot->value == 0 || slot->key == key)
			return slot;
	}
}

static int sums_grow(struct sums *sums)
{
	uint64_t slots_count = sums->slots_count ? sums->slots_count * 2 : SUMS_SLOTS_FIRST;
	uint64_t bytes = slots_count * sizeof(*sums->slots);
	if (!sums_claim(sums, bytes))
		return -E2BIG;
	struct sums_slot *slots = calloc(slots_count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint64_t i = 0; i < sums->slots_count; i++)
		if (sums->slots[i].value)
			*sums_slot(slots, slots_count, sums->slots[i].key) = sums->slots[i];
	free(sums->slots);
	sums_give_back(sums, sums->slots_count * sizeof(*slots));
	sums->slots = slots;
	sums->slots_count = slots_count;
	return 0;
}

static int sums_add_hashed(struct sums *sums, uint64_t key, uint64_t value)
{
	if (sums->slots_used * 2 >= sums->slots_count) {
		int r = sums_grow(sums);
		if (r < 0)
			return r;
	}
	struct sums_slot *slot = sums_slot(sums->slots, sums->slots_count, key);
	sums->slots_used += slot->value == 0;
	slot->key = key;
	uint64_t sum;
	if (__builtin_add_overflow(slot->value, value, &sum))
		return -EOVERFLOW;
	slot->value = sum;
	return 0;
}

/* With room left for the rows. Without it there is none, for good. */
static int sums_make_vector(struct sums *sums)
{
	uint64_t places = (uint64_t)sums->groups_count * sums->nodes_count;
	uint64_t bytes = sums_vector_bytes(sums);
	uint64_t most = sums->bound->memory_max / SUMS_VECTOR_SHARE * (SUMS_VECTOR_SHARE - 1);
	if (sums->bound->memory + bytes > most || !sums_claim(sums, bytes)) {
		sums->nodes_count = 0;
		return 0;
	}
	autofree uint64_t *vector = calloc(places, sizeof(*vector));
	autofree uint8_t *touched = calloc(places / SUMS_STRETCH_NODES + 1, 1);
	if (!vector || !touched)
		return -ENOMEM;
	sums->vector = TAKE(vector);
	sums->touched = TAKE(touched);
	return 0;
}

static inline int sums_add_one(struct sums *sums, uint32_t group, uint32_t node, uint64_t value)
{
	if (value == 0)
		return 0;
	if (node < sums->nodes_count && !sums->vector) {
		int r = sums_make_vector(sums);
		if (r < 0)
			return r;
	}
	if (node >= sums->nodes_count)
		return sums_add_hashed(sums, (uint64_t)group << 32 | node, value);

	uint64_t place = (uint64_t)group * sums->nodes_count + node;
	uint64_t before = sums->vector[place];
	uint64_t sum;
	if (__builtin_add_overflow(before, value, &sum))
		return -EOVERFLOW;
	sums->vector[place] = sum;
	sums->vector_used += before == 0;
	sums->touched[place / SUMS_STRETCH_NODES] = 1;
	return 0;
}

int sums_add(struct sums *sums, uint32_t group, uint32_t node, uint64_t value)
{
	assert(group < sums->groups_count);
	sums->is_scattered |= value > 0;
	return sums_add_one(sums, group, node, value);
}

/*
 * Places of a vector that does not fit the cache are asked for so many rows before they are needed:
 * batches that are not sealed have their nodes all over a dictionary.
 */
#define SUMS_AHEAD 16

static void sums_prefetch(const struct sums *sums, uint32_t group, uint32_t node)
{
	if (sums->vector && node < sums->nodes_count)
		fetch_to_write(&sums->vector[(uint64_t)group * sums->nodes_count + node]);
}

/* Beyond the bound the vector and the table take what comes. */
static bool sums_fits_rows(const struct sums *sums, uint32_t count)
{
	/* Set of bits, what is added into, and the rows in the end come on top of the runs. */
	const struct sums_bound *bound = sums->bound;
	uint64_t bytes = (bound->runs_rows + count) * (2 * SUMS_RUN_ROW_BYTES + 16) +
	                 sums->nodes_count / 4;
	return sums->groups_count == 1 && count > 0 && bytes <= bound->memory_max / 4 &&
	       bound->memory + count * SUMS_RUN_ROW_BYTES <= bound->memory_max;
}

/* Room for more loose rows. -ENOMEM. */
static int sums_reserve_loose(struct sums *sums, uint32_t count)
{
	struct sums_run *loose = &sums->loose;
	uint64_t needed = (uint64_t)loose->count + count;
	uint64_t capacity = sums->loose_capacity ? sums->loose_capacity : SUMS_LOOSE_FIRST;
	if (needed <= sums->loose_capacity)
		return 0;
	while (capacity < needed)
		capacity *= 2;
	uint32_t *nodes = reallocarray(loose->nodes, capacity, sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	loose->nodes = nodes;
	uint64_t *values = reallocarray(loose->values, capacity, sizeof(*values));
	if (!values)
		return -ENOMEM;
	loose->values = values;
	sums->loose_capacity = (uint32_t)capacity;
	return 0;
}

static int sums_add_loose(
        struct sums *sums, const struct row *rows, uint32_t count, uint64_t factor)
{
	struct sums_run *loose = &sums->loose;
	bool is_overflown = false;
	int r = sums_reserve_loose(sums, count);
	if (r < 0)
		return r;
	uint32_t before = loose->count;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t value;
		is_overflown |= __builtin_mul_overflow(rows[i].value, factor, &value);
		loose->nodes[loose->count] = rows[i].node;
		loose->values[loose->count] = value;
		loose->count += rows[i].value != 0;
	}
	sums_count_rows(sums, loose->count - before);
	return is_overflown ? -EOVERFLOW : 0;
}

/* There are too many: a sum of many rows is added into where it is in the end. */
static int sums_scatter_loose(struct sums *sums)
{
	struct sums_run *loose = &sums->loose;
	int r = 0;
	for (uint32_t i = 0; i < loose->count && r == 0; i++)
		r = sums_add_one(sums, 0, loose->nodes[i], loose->values[i]);
	sums_uncount_rows(sums, loose->count);
	sums_run_fini(loose);
	sums->loose_capacity = 0;
	sums->is_scattered = true;
	return r;
}

int sums_add_rows(
        struct sums *sums, uint32_t group, const struct row *rows, uint32_t count, uint64_t factor)
{
	int r = 0;
	assert(group < sums->groups_count);
	if (!sums->is_scattered && sums_fits_rows(sums, count) &&
	        sums->loose.count <= sums->nodes_count / SUMS_LOOSE_SHARE)
		return sums_add_loose(sums, rows, count, factor);
	if (sums->loose.count > 0)
		r = sums_scatter_loose(sums);
	sums->is_scattered = true;
	for (uint32_t i = 0; i < count && i < SUMS_AHEAD; i++)
		sums_prefetch(sums, group, rows[i].node);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint64_t value;
		if (i + SUMS_AHEAD < count)
			sums_prefetch(sums, group, rows[i + SUMS_AHEAD].node);
		if (__builtin_mul_overflow(rows[i].value, factor, &value))
			return -EOVERFLOW;
		r = sums_add_one(sums, group, rows[i].node, value);
	}
	return r;
}

/* A run with room for `count` rows, not yet counted among the others. -ENOMEM. */
static int sums_begin_run(struct sums *sums, uint32_t count, struct sums_run **ret_run)
{
	if (sums->runs_count == sums->runs_capacity) {
		uint32_t capacity = sums->runs_capacity ? sums->runs_capacity * 2 : 8;
		struct sums_run *runs = realloc(sums->runs, capacity * sizeof(*runs));
		if (!runs)
			return -ENOMEM;
		sums->runs = runs;
		sums->runs_capacity = capacity;
	}
	struct sums_run *run = &sums->runs[sums->runs_count];
	*run = (struct sums_run){
		.nodes = malloc(((size_t)count + 1) * sizeof(*run->nodes)),
		.values = malloc(((size_t)count + 1) * sizeof(*run->values)),
	};
	if (!run->nodes || !run->values) {
		free(run->nodes);
		free(run->values);
		return -ENOMEM;
	}
	*ret_run = run;
	return 0;
}

static int sums_add_run(struct sums *sums, const uint32_t *nodes, const uint32_t *order,
        const uint64_t *values, uint32_t count, uint64_t factor)
{
	struct sums_run *run;
	int r = sums_begin_run(sums, count, &run);
	if (r < 0)
		return r;
	bool is_overflown = false;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t value;
		is_overflown |= __builtin_mul_overflow(values[i], factor, &value);
		run->nodes[run->count] = nodes[order ? order[i] : i];
		run->values[run->count] = value;
		run->count += values[i] != 0;
	}
	run->is_ascending = !order;
	sums->runs_count++;
	sums_count_rows(sums, run->count);
	return is_overflown ? -EOVERFLOW : 0;
}

static bool sums_fits_run(const struct sums *sums, uint32_t count)
{
	return sums->runs_count < SUMS_RUNS_MAX && sums_fits_rows(sums, count);
}

int sums_add_all(struct sums *sums, uint32_t group, const uint32_t *nodes, const uint32_t *order,
        const uint64_t *values, uint32_t count, uint64_t factor)
{
	int r = 0;
	if (sums_fits_run(sums, count))
		return sums_add_run(sums, nodes, order, values, count, factor);
	for (uint32_t i = 0; i < count && r == 0; i++) {
		uint64_t value;
		if (values[i] == 0)
			continue;
		if (__builtin_mul_overflow(values[i], factor, &value))
			return -EOVERFLOW;
		r = sums_add(sums, group, nodes[order ? order[i] : i], value);
	}
	return r;
}

static int sums_compare_rows(const void *a, const void *b)
{
	const struct store_sum_row *x = a;
	const struct store_sum_row *y = b;
	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

/* Each place of the vector that holds something: sums->vector_used of them. */
static void sums_walk_vector(const struct sums *sums, struct store_sum_row *rows)
{
	uint64_t places = (uint64_t)sums->groups_count * sums->nodes_count;
	uint64_t count = 0;
	for (uint64_t first = 0; first < places; first += SUMS_STRETCH_NODES) {
		if (!sums->touched[first / SUMS_STRETCH_NODES])
			continue;
		uint64_t end = first + SUMS_STRETCH_NODES < places ? first + SUMS_STRETCH_NODES
		                                                   : places;
		for (uint64_t place = first; place < end; place++) {
			if (!sums->vector[place])
				continue;
			rows[count++] = (struct store_sum_row){
				.group = sums->groups[place / sums->nodes_count],
				.node = (uint32_t)(place % sums->nodes_count),
				.value = sums->vector[place],
			};
		}
	}
}

/* What was added otherwise, sorted. */
static int sums_take_scattered(
        struct sums *sums, struct store_sum_row **ret_rows, uint32_t *ret_rows_count)
{
	uint64_t count = sums->vector_used + sums->slots_used;
	if (count > UINT32_MAX || !sums_claim(sums, count * sizeof(**ret_rows)))
		return -E2BIG;

	struct store_sum_row *rows = calloc(count + 1, sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	if (sums->vector)
		sums_walk_vector(sums, rows);
	uint64_t at = sums->vector_used;
	for (uint64_t i = 0; i < sums->slots_count; i++) {
		const struct sums_slot *slot = &sums->slots[i];
		if (slot->value)
			rows[at++] = (struct store_sum_row){
				.group = sums->groups[slot->key >> 32],
				.node = (uint32_t)slot->key,
				.value = slot->value,
			};
	}
	/* Either half may be sorted already, but a few late nodes belong between the groups. */
	if (sums->slots_used > 0)
		qsort(rows, count, sizeof(*rows), sums_compare_rows);

	*ret_rows = rows;
	*ret_rows_count = (uint32_t)count;
	return 0;
}

/* All runs, and what is loose last. */
static const struct sums_run *sums_run(const struct sums *sums, uint32_t i)
{
	return i < sums->runs_count ? &sums->runs[i] : &sums->loose;
}

/* Every run into one vector over the nodes that occur. */
static int sums_gather(const struct sums *sums, struct stack_set *set, uint64_t *values)
{
	bool is_overflown = false;
	for (uint32_t i = 0; i <= sums->runs_count; i++) {
		const struct sums_run *run = sums_run(sums, i);
		for (uint32_t at = 0; at < run->count; at++) {
			uint64_t *sum = &values[stack_set_place(set, run->nodes[at])];
			is_overflown |= __builtin_add_overflow(*sum, run->values[at], sum);
		}
	}
	return is_overflown ? -EOVERFLOW : 0;
}

/* The first node that is in no run, nor any behind it. */
static uint32_t sums_end(const struct sums *sums)
{
	uint32_t end = 0;
	for (uint32_t i = 0; i <= sums->runs_count; i++) {
		const struct sums_run *run = sums_run(sums, i);
		/* Of an ascending one the last says it for all. */
		uint32_t at = run->is_ascending && run->count > 0 ? run->count - 1 : 0;
		for (; at < run->count; at++)
			end = run->nodes[at] >= end ? run->nodes[at] + 1 : end;
	}
	return end;
}

static int sums_join(const struct sums *sums, struct sums_run *ret_run)
{
	AUTO(stack_set) set = stack_set_new(sums_end(sums));
	if (!set)
		return -ENOMEM;
	for (uint32_t i = 0; i <= sums->runs_count; i++) {
		const struct sums_run *run = sums_run(sums, i);
		for (uint32_t at = 0; at < run->count; at++)
			stack_set_add(set, run->nodes[at]);
	}

	uint32_t count = stack_set_rank(set);
	autofree uint32_t *nodes = malloc(((size_t)count + 1) * sizeof(*nodes));
	autofree uint64_t *values = calloc((size_t)count + 1, sizeof(*values));
	if (!nodes || !values)
		return -ENOMEM;
	int r = sums_gather(sums, set, values);
	if (r < 0)
		return r;
	stack_set_list(set, nodes);
	*ret_run = (struct sums_run){ TAKE(nodes), TAKE(values), count, true };
	return 0;
}

/* What was added otherwise becomes a run like the others. */
static int sums_scattered_to_run(struct sums *sums)
{
	autofree struct store_sum_row *rows = NULL;
	uint32_t count;
	struct sums_run *run;
	int r = sums_take_scattered(sums, &rows, &count);
	r = r < 0 ? r : sums_begin_run(sums, count, &run);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < count; i++) {
		run->nodes[i] = rows[i].node;
		run->values[i] = rows[i].value;
	}
	run->count = count;
	run->is_ascending = true;
	sums->runs_count++;
	sums_count_rows(sums, count);
	sums_give_back(sums, count * sizeof(*rows));
	return 0;
}

static int sums_rows_of_run(struct sums *sums, const struct sums_run *run,
        struct store_sum_row **ret_rows, uint32_t *ret_rows_count)
{
	if (!sums_claim(sums, run->count * sizeof(**ret_rows)))
		return -E2BIG;
	struct store_sum_row *rows = malloc(((size_t)run->count + 1) * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (uint32_t i = 0; i < run->count; i++)
		rows[i] = (struct store_sum_row){
			.group = sums->groups[0], .node = run->nodes[i], .value = run->values[i]
		};
	*ret_rows = rows;
	*ret_rows_count = run->count;
	return 0;
}

static int sums_make_rows(
        struct sums *sums, struct store_sum_row **ret_rows, uint32_t *ret_rows_count)
{
	if (sums->runs_count == 0 && sums->loose.count == 0)
		return sums_take_scattered(sums, ret_rows, ret_rows_count);
	int r = sums->is_scattered ? sums_scattered_to_run(sums) : 0;
	if (r < 0)
		return r;
	if (sums->runs_count == 1 && sums->loose.count == 0 && sums->runs[0].is_ascending)
		return sums_rows_of_run(sums, &sums->runs[0], ret_rows, ret_rows_count);
	struct sums_run joined;
	r = sums_join(sums, &joined);
	if (r < 0)
		return r;
	r = sums_rows_of_run(sums, &joined, ret_rows, ret_rows_count);
	sums_run_fini(&joined);
	return r;
}

int sums_take_rows(struct sums *sums, struct store_sum_row **ret_rows, uint32_t *ret_rows_count)
{
	struct store_sum_row *rows;
	uint32_t count;
	int r = sums_make_rows(sums, &rows, &count);
	if (r < 0)
		return r;
	sums_empty(sums);
	sums->bound->memory += count * sizeof(*rows);
	*ret_rows = rows;
	*ret_rows_count = count;
	return 0;
}

/* A run is handed over, and is empty. */
static void sums_hand_over(struct sums_run *run, struct store_sum_part *part)
{
	if (run->count > 0)
		part->runs[part->runs_count++] = (struct store_sum_run){ TAKE(run->nodes),
			TAKE(run->values), run->count };
}

int sums_take_runs(struct sums *sums, struct store_sum_part *ret_part)
{
	struct store_sum_part part = { .runs_group = sums->groups_count ? sums->groups[0] : 0 };
	int r = 0;
	if (sums->runs_count == 0 && sums->loose.count == 0)
		return sums_take_rows(sums, &ret_part->rows, &ret_part->rows_count);
	part.runs = calloc((size_t)sums->runs_count + 1, sizeof(*part.runs));
	if (!part.runs)
		return -ENOMEM;
	if (sums->is_scattered)
		r = sums_take_scattered(sums, &part.rows, &part.rows_count);
	if (r < 0) {
		store_sum_part_fini(&part);
		return r;
	}
	for (uint32_t i = 0; i < sums->runs_count; i++)
		sums_hand_over(&sums->runs[i], &part);
	sums_hand_over(&sums->loose, &part);
	sums_empty(sums);
	sums->bound->memory += store_sum_part_bytes(&part);
	*ret_part = part;
	return 0;
}

/*
 * A writer packs each group's values as they come, into `values`, and keeps the facts of the groups
 * in arrays, which become columns at the end; so it holds one group's values at a time.
 */

#include "storage/sum_block.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "core/hash.h"
#include "storage/block_head.h"
#include "storage/sum_block_private.h"

typedef uint32_t lanes __attribute__((vector_size(32), aligned(1), may_alias));

int sum_group_key_compare(const struct sum_group_key *a, const struct sum_group_key *b)
{
	if (a->flags != b->flags)
		return a->flags < b->flags ? -1 : 1;
	if (a->version != b->version)
		return a->version < b->version ? -1 : 1;
	if (a->region != b->region)
		return a->region < b->region ? -1 : 1;
	if (a->bucket != b->bucket)
		return a->bucket < b->bucket ? -1 : 1;
	return a->period < b->period ? -1 : a->period > b->period;
}

uint64_t sum_dictionary_hash(struct sum_dictionary dictionary)
{
	return hash64_bytes(dictionary.nodes, dictionary.count * sizeof(*dictionary.nodes));
}

/* ---- writing ---- */

/* The facts of all groups, a column each. */
enum sum_narrow_fact {
	FACT_FLAGS,
	FACT_VERSION,
	FACT_REGION,
	FACT_BUCKET,
	FACT_INSTANCES,
	FACT_LOSSES,
	NARROW_FACTS,
};

enum sum_wide_fact { FACT_PERIOD, FACT_SAMPLES, FACT_FOLDED, FACT_COVERAGE, WIDE_FACTS };

struct sum_writer {
	struct sum_writer_options options;
	struct column_scratch scratch;
	uint32_t groups_count;
	struct sum_group_key last;
	struct buf narrow[NARROW_FACTS]; /* arrays of u32 */
	struct buf wide[WIDE_FACTS];     /* arrays of u64 */
	struct buf instances;            /* u32: distances inside a group */
	struct buf reasons;              /* u32 */
	struct buf losses;               /* u64: less one */
	struct buf values;               /* columns */
	uint32_t *order;
	uint64_t *ordered; /* values of one group, in that order */
	uint64_t samples;  /* by the totals */
	uint64_t put;      /* by the groups so far */
	uint64_t period;   /* of all groups so far; 0: they differ */
};

/* Places by the class of their total. */
static void sum_order(const uint64_t *totals, uint32_t count, uint32_t *ret_order)
{
	uint32_t next[SUMS_CLASSES + 1] = { 0 };
	for (uint32_t i = 0; i < count; i++)
		next[sums_class(totals[i]) + 1]++;
	for (uint32_t i = 1; i <= SUMS_CLASSES; i++)
		next[i] += next[i - 1];
	for (uint32_t i = 0; i < count; i++)
		ret_order[next[sums_class(totals[i])]++] = i;
}

struct sum_writer *sum_writer_new(struct sum_writer_options options)
{
	assert(options.dictionary.count <= SUMS_DICTIONARY_MAX);
	assert(options.from_ns <= options.to_ns);
	for (uint32_t i = 1; i < options.dictionary.count; i++)
		assert(options.dictionary.nodes[i - 1] < options.dictionary.nodes[i]);

	AUTO(sum_writer) writer = calloc(1, sizeof(*writer));
	if (!writer)
		return NULL;
	uint32_t count = options.dictionary.count;
	writer->options = options;
	writer->order = malloc(((size_t)count + 1) * sizeof(*writer->order));
	writer->ordered = malloc(((size_t)count + 1) * sizeof(*writer->ordered));
	if (!writer->order || !writer->ordered)
		return NULL;
	sum_order(options.totals, count, writer->order);
	/* An overflow is told by the group that does not fit any more. */
	for (uint32_t i = 0; i < count; i++)
		if (__builtin_add_overflow(writer->samples, options.totals[i], &writer->samples))
			writer->samples = UINT64_MAX;
	return TAKE(writer);
}

void sum_writer_free(struct sum_writer *writer)
{
	if (!writer)
		return;
	for (int i = 0; i < NARROW_FACTS; i++)
		buf_fini(&writer->narrow[i]);
	for (int i = 0; i < WIDE_FACTS; i++)
		buf_fini(&writer->wide[i]);
	buf_fini(&writer->instances);
	buf_fini(&writer->reasons);
	buf_fini(&writer->losses);
	buf_fini(&writer->values);
	column_scratch_fini(&writer->scratch);
	free(writer->order);
	free(writer->ordered);
	free(writer);
}

static void array_put_u32(struct buf *array, uint32_t value)
{
	buf_put(array, &value, sizeof(value));
}

static void array_put_u64(struct buf *array, uint64_t value)
{
	buf_put(array, &value, sizeof(value));
}

static void sum_writer_put_facts(
        struct sum_writer *writer, const struct sum_group *group, uint64_t samples)
{
	array_put_u32(&writer->narrow[FACT_FLAGS], group->key.flags);
	array_put_u32(&writer->narrow[FACT_VERSION], group->key.version);
	array_put_u32(&writer->narrow[FACT_REGION], group->key.region);
	array_put_u32(&writer->narrow[FACT_BUCKET], group->key.bucket);
	array_put_u32(&writer->narrow[FACT_INSTANCES], group->instances_count);
	array_put_u32(&writer->narrow[FACT_LOSSES], group->losses_count);
	array_put_u64(&writer->wide[FACT_PERIOD], group->key.period);
	array_put_u64(&writer->wide[FACT_SAMPLES], samples);
	array_put_u64(&writer->wide[FACT_FOLDED], group->folded);
	array_put_u64(&writer->wide[FACT_COVERAGE], group->coverage_ns);

	uint32_t next = 0;
	for (uint32_t i = 0; i < group->instances_count; i++) {
		assert(i == 0 || group->instances[i] >= next);
		array_put_u32(&writer->instances, group->instances[i] - next);
		next = group->instances[i] + 1;
	}
	for (uint32_t i = 0; i < group->losses_count; i++) {
		assert(i == 0 || group->losses[i - 1].reason < group->losses[i].reason);
		assert(group->losses[i].count > 0);
		array_put_u32(&writer->reasons, group->losses[i].reason);
		array_put_u64(&writer->losses, group->losses[i].count - 1);
	}
}

static bool sum_writer_has_failed(const struct sum_writer *writer)
{
	bool has_failed = writer->values.failed || writer->instances.failed ||
	                  writer->reasons.failed || writer->losses.failed;
	for (int i = 0; i < NARROW_FACTS; i++)
		has_failed |= writer->narrow[i].failed;
	for (int i = 0; i < WIDE_FACTS; i++)
		has_failed |= writer->wide[i].failed;
	return has_failed;
}

static bool sum_writer_has_room(const struct sum_writer *writer, const struct sum_group *group)
{
	return writer->instances.count / sizeof(uint32_t) + group->instances_count <=
	               SUMS_INSTANCES_MAX &&
	       writer->reasons.count / sizeof(uint32_t) + group->losses_count <= SUMS_LOSSES_MAX;
}

/* As long as all groups have the same period it stands once; then 0 does. */
static void sum_writer_see_period(struct sum_writer *writer, uint64_t period)
{
	if (writer->groups_count == 0)
		writer->period = period;
	else if (writer->period != period)
		writer->period = 0;
}

/* In the order of the groups, in which stacks of about the same total are neighbours. */
static void sum_writer_put_column(struct sum_writer *writer, const uint64_t *values)
{
	enum column_effort effort = writer->options.effort;
	uint32_t count = writer->options.dictionary.count;
	for (uint32_t i = 0; i < count; i++)
		writer->ordered[i] = values[writer->order[i]];
	column_put_u64(writer->ordered, count, effort == COLUMN_FAST ? COLUMN_ZEROES : effort,
	        &writer->scratch, &writer->values);
}

int sum_writer_put(struct sum_writer *writer, const struct sum_group *group, const uint64_t *values)
{
	assert(writer->groups_count == 0 || sum_group_key_compare(&writer->last, &group->key) < 0);
	assert(writer->groups_count < SUMS_GROUPS_MAX);
	assert(group->key.period > 0);

	if (!sum_writer_has_room(writer, group))
		return -E2BIG;
	uint64_t samples = 0;
	for (uint32_t i = 0; i < writer->options.dictionary.count; i++)
		if (__builtin_add_overflow(samples, values[i], &samples))
			return -EOVERFLOW;
	assert(group->folded <= samples);
	if (__builtin_add_overflow(writer->put, samples, &writer->put))
		return -EOVERFLOW;
	sum_writer_see_period(writer, group->key.period);
	sum_writer_put_facts(writer, group, samples);
	sum_writer_put_column(writer, values);
	writer->last = group->key;
	writer->groups_count++;
	return sum_writer_has_failed(writer) ? -ENOMEM : 0;
}

static int sum_writer_put_dictionary(struct sum_writer *writer, struct buf *to)
{
	struct sum_dictionary dictionary = writer->options.dictionary;
	buf_put_u8(to, writer->options.is_dictionary_elsewhere);
	buf_put_varint(to, dictionary.count);
	buf_put_u64(to, sum_dictionary_hash(dictionary));
	if (writer->options.is_dictionary_elsewhere)
		return 0;
	autofree uint32_t *distances = malloc(((size_t)dictionary.count + 1) * sizeof(*distances));
	if (!distances)
		return -ENOMEM;
	uint32_t next = 0;
	for (uint32_t i = 0; i < dictionary.count; i++) {
		distances[i] = dictionary.nodes[i] - next;
		next = dictionary.nodes[i] + 1;
	}
	column_put_u32(distances, dictionary.count, writer->options.effort, &writer->scratch, to);
	return 0;
}

static void sum_writer_put_u32(struct sum_writer *writer, const struct buf *array, struct buf *to)
{
	column_put_u32((const void *)array->bytes, (uint32_t)(array->count / sizeof(uint32_t)),
	        COLUMN_FAST, &writer->scratch, to);
}

static void sum_writer_put_u64(struct sum_writer *writer, const struct buf *array, struct buf *to)
{
	column_put_u64((const void *)array->bytes, (uint32_t)(array->count / sizeof(uint64_t)),
	        COLUMN_FAST, &writer->scratch, to);
}

/* The only group is the total. Returns the checksum, 0 for nothing. */
static uint64_t sum_writer_put_values(
        const struct sum_writer *writer, struct kv_bytes key, struct buf *to)
{
	if (writer->groups_count <= 1)
		return 0;
	block_head_begin(BLOCK_MAGIC_VALUES, BLOCK_VERSION_VALUES, to);
	buf_put(to, writer->values.bytes, writer->values.count);
	block_head_seal(to, key);
	return to->failed ? 0 : block_head_checksum((struct kv_bytes){ to->bytes, to->count });
}

int sum_writer_finish(
        struct sum_writer *writer, struct sum_keys keys, struct buf *to, struct buf *values)
{
	assert(writer->put == writer->samples);
	uint64_t checksum = sum_writer_put_values(writer, keys.values, values);
	block_head_begin(BLOCK_MAGIC_SUMS, BLOCK_VERSION_SUMS, to);
	buf_put_varint(to, writer->options.from_ns);
	buf_put_varint(to, writer->options.to_ns - writer->options.from_ns);
	int r = sum_writer_put_dictionary(writer, to);
	if (r < 0)
		return r;
	column_put_u64(writer->options.totals, writer->options.dictionary.count,
	        writer->options.effort, &writer->scratch, to);
	buf_put_varint(to, writer->samples);
	buf_put_varint(to, writer->period);
	buf_put_varint(to, writer->groups_count);
	buf_put_varint(to, writer->instances.count / sizeof(uint32_t));
	buf_put_varint(to, writer->reasons.count / sizeof(uint32_t));
	if (writer->groups_count > 1)
		buf_put_u64(to, checksum);
	for (int i = 0; i < NARROW_FACTS; i++)
		sum_writer_put_u32(writer, &writer->narrow[i], to);
	for (int i = 0; i < WIDE_FACTS; i++)
		sum_writer_put_u64(writer, &writer->wide[i], to);
	sum_writer_put_u32(writer, &writer->instances, to);
	sum_writer_put_u32(writer, &writer->reasons, to);
	sum_writer_put_u64(writer, &writer->losses, to);
	block_head_seal(to, keys.block);
	return to->failed || values->failed || sum_writer_has_failed(writer) ? -ENOMEM : 0;
}

/* ---- opening ---- */

int sum_block_open(struct kv_bytes key, struct kv_bytes value, struct sum_block *ret_block)
{
	struct reader from;
	uint8_t version;
	struct sum_block block = { 0 };
	int r = block_head_open(BLOCK_MAGIC_SUMS, BLOCK_VERSION_SUMS, key, value, &version, &from);
	if (r < 0)
		return r;

	block.from_ns = reader_varint(&from);
	block.to_ns = block.from_ns + reader_varint_max(&from, UINT64_MAX - block.from_ns);
	uint8_t elsewhere = reader_u8(&from);
	block.is_dictionary_elsewhere = elsewhere;
	block.dictionary_count = (uint32_t)reader_varint_max(&from, SUMS_DICTIONARY_MAX);
	block.dictionary_hash = reader_u64(&from);
	if (!elsewhere)
		block.dictionary = column_open(&from, block.dictionary_count);
	block.totals = column_open_wide(&from, block.dictionary_count);
	block.samples = reader_varint(&from);
	block.period = reader_varint(&from);
	block.groups_count = (uint32_t)reader_varint_max(&from, SUMS_GROUPS_MAX);
	block.instances_count = (uint32_t)reader_varint_max(&from, SUMS_INSTANCES_MAX);
	block.losses_count = (uint32_t)reader_varint_max(&from, SUMS_LOSSES_MAX);
	block.has_values_apart = version >= 2 && block.groups_count > 1;
	if (block.has_values_apart)
		block.values_checksum = reader_u64(&from);
	if (from.failed || elsewhere > 1)
		return -EBADMSG;
	block.groups = from;
	*ret_block = block;
	return 0;
}

/* ---- reading ---- */

struct sum_memory *sum_memory_new(void)
{
	return calloc(1, sizeof(struct sum_memory));
}

void sum_memory_free(struct sum_memory *memory)
{
	if (!memory)
		return;
	column_scratch_fini(&memory->scratch);
	buf_fini(&memory->groups);
	buf_fini(&memory->values);
	buf_fini(&memory->narrow_facts);
	buf_fini(&memory->wide_facts);
	buf_fini(&memory->instances);
	buf_fini(&memory->losses);
	buf_fini(&memory->narrow);
	buf_fini(&memory->wide);
	buf_fini(&memory->order);
	free(memory);
}

static void *sum_room(struct buf *buf, size_t count, size_t bytes_each)
{
	buf_reset(buf);
	return buf_reserve(buf, count * bytes_each);
}

int sum_block_get_dictionary(
        const struct sum_block *block, struct sum_memory *memory, uint32_t *ret_nodes)
{
	if (block->is_dictionary_elsewhere)
		return -EBADMSG;
	int r = column_get_u32(&block->dictionary, UINT32_MAX, ret_nodes, &memory->scratch);
	r = r < 0 ? r : column_ids(ret_nodes, block->dictionary_count);
	if (r < 0)
		return r;
	/* Others name this dictionary by its hash: it must be the one that they mean. */
	struct sum_dictionary dictionary = { ret_nodes, block->dictionary_count };
	return sum_dictionary_hash(dictionary) == block->dictionary_hash ? 0 : -EBADMSG;
}

static int sum_get_instances(const struct sum_block *block, struct sum_memory *memory,
        struct reader *from, const uint32_t *counts)
{
	uint32_t *instances = sum_room(
	        &memory->instances, block->instances_count, sizeof(*instances));
	if (!instances)
		return -ENOMEM;
	struct column column = column_open(from, block->instances_count);
	int r = column_get_u32(&column, UINT32_MAX, instances, &memory->scratch);
	uint32_t first = 0;
	for (uint32_t i = 0; r == 0 && i < block->groups_count; i++) {
		if (counts[i] > block->instances_count - first)
			return -EBADMSG;
		r = column_ids(instances + first, counts[i]);
		first += counts[i];
	}
	return r < 0 ? r : first == block->instances_count ? 0 : -EBADMSG;
}

static int sum_get_losses(const struct sum_block *block, struct sum_memory *memory,
        struct reader *from, const uint32_t *counts)
{
	uint32_t count = block->losses_count;
	struct sum_loss *losses = sum_room(&memory->losses, count, sizeof(*losses));
	uint32_t *reasons = sum_room(&memory->narrow, count, sizeof(*reasons));
	uint64_t *less_one = sum_room(&memory->wide, count, sizeof(*less_one));
	if (!losses || !reasons || !less_one)
		return -ENOMEM;
	struct column reason = column_open(from, count);
	struct column_wide column = column_open_wide(from, count);
	if (from->failed)
		return -EBADMSG;
	int r = column_get_u32(&reason, UINT32_MAX, reasons, &memory->scratch);
	r = r < 0 ? r : column_get_u64(&column, UINT64_MAX - 1, less_one, &memory->scratch);
	if (r < 0)
		return r;

	uint32_t at = 0;
	for (uint32_t i = 0; i < block->groups_count; i++) {
		if (counts[i] > count - at)
			return -EBADMSG;
		for (uint32_t j = 0; j < counts[i]; j++, at++) {
			if (j > 0 && reasons[at - 1] >= reasons[at])
				return -EBADMSG;
			losses[at] = (struct sum_loss){ reasons[at], less_one[at] + 1 };
		}
	}
	return at == count ? 0 : -EBADMSG;
}

/* The columns of values, opened, one pair per group; they end what is read. */
static int sum_open_columns(
        const struct sum_block *block, struct sum_memory *memory, struct reader *from)
{
	struct column_wide *values = sum_room(
	        &memory->values, block->groups_count, sizeof(*values));
	if (!values)
		return -ENOMEM;
	if (block->groups_count == 1)
		values[0] = block->totals; /* and in the order of the dictionary */
	else
		for (uint32_t i = 0; i < block->groups_count && !from->failed; i++)
			values[i] = column_open_wide(from, block->dictionary_count);
	if (from->failed || reader_left(from) > 0)
		return -EBADMSG;
	memory->has_values = true;
	return 0;
}

int sum_block_open_values(const struct sum_block *block, struct sum_memory *memory,
        struct kv_bytes key, struct kv_bytes value)
{
	struct reader from;
	uint8_t version;
	if (!block->has_values_apart) {
		assert(memory->has_values);
		return 0;
	}
	int r = block_head_open(
	        BLOCK_MAGIC_VALUES, BLOCK_VERSION_VALUES, key, value, &version, &from);
	if (r == 0 && block_head_checksum(value) != block->values_checksum)
		r = -EBADMSG;
	return r < 0 ? r : sum_open_columns(block, memory, &from);
}

static int sum_get_facts(const struct sum_block *block, struct sum_memory *memory,
        struct reader *from, uint32_t **narrow, uint64_t **wide)
{
	uint32_t count = block->groups_count;
	uint32_t *narrow_at = sum_room(
	        &memory->narrow_facts, (size_t)count * NARROW_FACTS, sizeof(*narrow_at));
	uint64_t *wide_at = sum_room(
	        &memory->wide_facts, (size_t)count * WIDE_FACTS, sizeof(*wide_at));
	if (!narrow_at || !wide_at)
		return -ENOMEM;
	for (uint32_t i = 0; i < NARROW_FACTS; i++)
		narrow[i] = narrow_at + (size_t)i * count;
	for (uint32_t i = 0; i < WIDE_FACTS; i++)
		wide[i] = wide_at + (size_t)i * count;
	int r = 0;
	for (uint32_t i = 0; i < NARROW_FACTS && r == 0; i++) {
		struct column column = column_open(from, count);
		r = from->failed ? -EBADMSG
		                 : column_get_u32(&column, UINT32_MAX, narrow[i], &memory->scratch);
	}
	for (uint32_t i = 0; i < WIDE_FACTS && r == 0; i++) {
		struct column_wide column = column_open_wide(from, count);
		r = from->failed ? -EBADMSG
		                 : column_get_u64(&column, UINT64_MAX, wide[i], &memory->scratch);
	}
	return r;
}

int sum_block_get_groups(const struct sum_block *block, struct sum_memory *memory,
        const struct sum_group **ret_groups)
{
	struct reader from = block->groups;
	uint32_t *narrow[NARROW_FACTS];
	uint64_t *wide[WIDE_FACTS];
	struct sum_group *groups = sum_room(&memory->groups, block->groups_count, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	int r = sum_get_facts(block, memory, &from, narrow, wide);
	r = r ? r : sum_get_instances(block, memory, &from, narrow[FACT_INSTANCES]);
	r = r ? r : sum_get_losses(block, memory, &from, narrow[FACT_LOSSES]);
	memory->has_values = false;
	if (r == 0 && block->has_values_apart)
		r = reader_left(&from) > 0 ? -EBADMSG : 0;
	else if (r == 0)
		r = sum_open_columns(block, memory, &from);
	if (r != 0)
		return r;

	const uint32_t *instances = (const void *)memory->instances.bytes;
	const struct sum_loss *losses = (const void *)memory->losses.bytes;
	uint64_t samples = 0;
	bool is_bad = false;
	bool is_mixed = false;
	for (uint32_t i = 0; i < block->groups_count; i++) {
		groups[i] = (struct sum_group){
			.key = { .flags = narrow[FACT_FLAGS][i],
			        .version = narrow[FACT_VERSION][i],
			        .region = narrow[FACT_REGION][i],
			        .bucket = narrow[FACT_BUCKET][i],
			        .period = wide[FACT_PERIOD][i] },
			.samples = wide[FACT_SAMPLES][i],
			.folded = wide[FACT_FOLDED][i],
			.coverage_ns = wide[FACT_COVERAGE][i],
			.instances = instances,
			.instances_count = narrow[FACT_INSTANCES][i],
			.losses = losses,
			.losses_count = narrow[FACT_LOSSES][i],
		};
		instances += groups[i].instances_count;
		losses += groups[i].losses_count;
		is_mixed |= groups[i].key.period != groups[0].key.period;
		is_bad |= __builtin_add_overflow(samples, groups[i].samples, &samples);
		if (groups[i].key.period == 0 || groups[i].folded > groups[i].samples ||
		        (i > 0 && sum_group_key_compare(&groups[i - 1].key, &groups[i].key) >= 0))
			return -EBADMSG;
	}
	uint64_t period = block->groups_count == 0 || is_mixed ? 0 : groups[0].key.period;
	if (is_bad || samples != block->samples || period != block->period)
		return -EBADMSG;
	*ret_groups = groups;
	return 0;
}

int sum_get_values(struct sum_memory *memory, const struct column_wide *column, uint64_t samples,
        const uint32_t **ret_narrow, const uint64_t **ret_wide)
{
	uint32_t count = column->low.count;
	uint64_t sum = 0;
	if (column_is_narrow(column)) {
		uint32_t *narrow = sum_room(&memory->narrow, count, sizeof(*narrow));
		if (!narrow)
			return -ENOMEM;
		int r = column_get_u32(&column->low, UINT32_MAX, narrow, &memory->scratch);
		if (r == 0 && column_sum(narrow, count) != samples)
			r = -EBADMSG;
		*ret_narrow = narrow;
		*ret_wide = NULL;
		return r;
	}

	uint64_t *wide = sum_room(&memory->wide, count, sizeof(*wide));
	if (!wide)
		return -ENOMEM;
	int r = column_get_u64(column, UINT64_MAX, wide, &memory->scratch);
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = __builtin_add_overflow(sum, wide[i], &sum) ? -EBADMSG : 0;
	if (r == 0 && sum != samples)
		r = -EBADMSG;
	*ret_narrow = NULL;
	*ret_wide = wide;
	return r;
}

int sum_block_get_order(
        const struct sum_block *block, struct sum_memory *memory, const uint32_t **ret_order)
{
	uint32_t count = block->dictionary_count;
	uint32_t *order = sum_room(&memory->order, count, sizeof(*order));
	uint64_t *totals = sum_room(&memory->wide, count, sizeof(*totals));
	if (!order || !totals)
		return -ENOMEM;
	if (block->groups_count == 1) {
		for (uint32_t i = 0; i < count; i++)
			order[i] = i;
	} else {
		int r = column_get_u64(&block->totals, UINT64_MAX, totals, &memory->scratch);
		if (r < 0)
			return r;
		sum_order(totals, count, order);
	}
	*ret_order = order;
	return 0;
}

static void sum_add_narrow(const uint32_t *values, uint32_t count, uint32_t *sums)
{
	const lanes *in = (const lanes *)values;
	lanes *out = (lanes *)sums;
	uint32_t rows = count / 8;
	for (uint32_t i = 0; i < rows; i++)
		out[i] += in[i];
	for (uint32_t i = rows * 8; i < count; i++)
		sums[i] += values[i];
}

static int sum_add_wide(
        const uint32_t *narrow, const uint64_t *wide, uint32_t count, struct stack_sums *sums)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < count; i++)
		r = stack_sums_add(sums, i, wide ? wide[i] : narrow[i]);
	return r;
}

static int sum_add(struct sum_memory *memory, const struct column_wide *column, uint64_t samples,
        struct stack_sums *const *sums, uint32_t sums_count)
{
	uint32_t count = column->low.count;
	const uint32_t *narrow;
	const uint64_t *wide;
	for (uint32_t i = 0; i < sums_count; i++)
		if (stack_sums_count(sums[i]) != count)
			return -EBADMSG;
	int r = sum_get_values(memory, column, samples, &narrow, &wide);
	if (r < 0)
		return r;
	assert(narrow || wide);
	for (uint32_t i = 0; i < sums_count && r == 0; i++) {
		if (narrow && samples <= UINT32_MAX)
			sum_add_narrow(narrow, count, stack_sums_narrow(sums[i], samples));
		else
			r = sum_add_wide(narrow, wide, count, sums[i]);
	}
	return r;
}

int sum_block_add_total_each(const struct sum_block *block, struct sum_memory *memory,
        struct stack_sums *const *sums, uint32_t sums_count)
{
	return sum_add(memory, &block->totals, block->samples, sums, sums_count);
}

int sum_block_add_group_each(const struct sum_block *block, struct sum_memory *memory,
        uint32_t group, struct stack_sums *const *sums, uint32_t sums_count)
{
	const struct sum_group *groups = (const void *)memory->groups.bytes;
	const struct column_wide *columns = (const void *)memory->values.bytes;
	assert(group < block->groups_count && memory->has_values);
	return sum_add(memory, &columns[group], groups[group].samples, sums, sums_count);
}

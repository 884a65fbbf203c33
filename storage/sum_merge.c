/*
 * Adding blocks up. It goes group by group over all sources, so that memory is the union of the
 * dictionaries times a few words, however many groups there are.
 */

#include "storage/sum_block.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "storage/stack_set.h"
#include "storage/sum_block_private.h"

struct merge_source {
	const struct sum_block *block;
	struct sum_memory *memory;
	const struct sum_group *groups;
	uint32_t *nodes;  /* what each stack becomes */
	uint8_t *folded;  /* whether that is another one */
	uint32_t *places; /* and its place in the union; all in the order of the groups */
};

/* One group of one source, and the group it becomes a part of. */
struct merge_part {
	struct sum_group_key key;
	uint32_t source;
	uint32_t group;
};

struct merge {
	struct sum_merge_options options;
	struct merge_source *sources;
	uint32_t sources_count;
	struct merge_part *parts;
	uint32_t parts_count;
	uint32_t *nodes;
	uint32_t nodes_count;
	uint64_t *values;
	uint64_t *totals;
	struct buf instances;
	struct sum_loss *losses;
	uint32_t losses_count;
};

static void merge_fini(struct merge *merge)
{
	for (uint32_t i = 0; merge->sources && i < merge->sources_count; i++) {
		sum_memory_free(merge->sources[i].memory);
		free(merge->sources[i].nodes);
		free(merge->sources[i].folded);
		free(merge->sources[i].places);
	}
	free(merge->sources);
	free(merge->parts);
	free(merge->nodes);
	free(merge->values);
	free(merge->totals);
	free(merge->losses);
	buf_fini(&merge->instances);
}

/* The stacks of a source as its dictionary has them: ascending, wherever that lies. */
static int merge_get_nodes(
        struct merge_source *source, const struct sum_source *from, uint32_t nodes_count)
{
	const struct sum_block *block = from->block;
	uint32_t count = block->dictionary_count;

	if (block->is_dictionary_elsewhere) {
		if (from->dictionary.count != count ||
		        sum_dictionary_hash(from->dictionary) != block->dictionary_hash)
			return -EBADMSG;
		if (count)
			memcpy(source->nodes, from->dictionary.nodes, count * sizeof(uint32_t));
	} else {
		int r = sum_block_get_dictionary(block, source->memory, source->nodes);
		if (r < 0)
			return r;
	}
	/* Ascending: the last one says it for all. */
	return count > 0 && source->nodes[count - 1] >= nodes_count ? -EBADMSG : 0;
}

/* A stack that is not kept counts for another one. */
static void merge_fold_nodes(const struct merge *merge, struct merge_source *source)
{
	for (uint32_t i = 0; i < source->block->dictionary_count; i++) {
		uint32_t node = merge->options.fold(merge->options.owner, source->nodes[i]);
		assert(node < merge->options.nodes_count);
		source->folded[i] = node != source->nodes[i] && !merge->options.is_fold_silent;
		source->nodes[i] = node;
	}
}

static int merge_open_source(struct merge *merge, const struct sum_source *from, uint32_t index)
{
	struct merge_source *source = &merge->sources[index];
	uint32_t count = from->block->dictionary_count;
	source->block = from->block;
	source->memory = sum_memory_new();
	source->nodes = malloc(((size_t)count + 1) * sizeof(*source->nodes));
	source->places = malloc(((size_t)count + 1) * sizeof(*source->places));
	source->folded = calloc((size_t)count + 1, sizeof(*source->folded));
	if (!source->memory || !source->nodes || !source->places || !source->folded)
		return -ENOMEM;

	const uint32_t *order;
	int r = merge_get_nodes(source, from, merge->options.nodes_count);
	r = r < 0 ? r : sum_block_get_order(from->block, source->memory, &order);
	if (r < 0)
		return r;
	/* `places` is not needed before the union is made. */
	if (count)
		memcpy(source->places, source->nodes, count * sizeof(uint32_t));
	for (uint32_t i = 0; i < count; i++)
		source->nodes[i] = source->places[order[i]];
	if (merge->options.fold)
		merge_fold_nodes(merge, source);
	r = sum_block_get_groups(from->block, source->memory, &source->groups);
	return r < 0 ? r
	             : sum_block_open_values(
	                       from->block, source->memory, from->values_key, from->values);
}

/* The union of all dictionaries, and where in it each stack of each source is. */
static int merge_dictionaries(struct merge *merge)
{
	AUTO(stack_set) set = stack_set_new(merge->options.nodes_count);
	if (!set)
		return -ENOMEM;
	for (uint32_t s = 0; s < merge->sources_count; s++) {
		const struct merge_source *source = &merge->sources[s];
		for (uint32_t i = 0; i < source->block->dictionary_count; i++)
			stack_set_add(set, source->nodes[i]);
	}
	merge->nodes_count = stack_set_rank(set);
	if (merge->nodes_count > SUMS_DICTIONARY_MAX)
		return -E2BIG;
	merge->nodes = malloc(((size_t)merge->nodes_count + 1) * sizeof(*merge->nodes));
	merge->values = malloc(((size_t)merge->nodes_count + 1) * sizeof(*merge->values));
	merge->totals = calloc((size_t)merge->nodes_count + 1, sizeof(*merge->totals));
	if (!merge->nodes || !merge->values || !merge->totals)
		return -ENOMEM;
	stack_set_list(set, merge->nodes);
	for (uint32_t s = 0; s < merge->sources_count; s++) {
		const struct merge_source *source = &merge->sources[s];
		for (uint32_t i = 0; i < source->block->dictionary_count; i++)
			source->places[i] = stack_set_place(set, source->nodes[i]);
	}
	return 0;
}

static int merge_part_compare(const void *a, const void *b)
{
	const struct merge_part *x = a;
	const struct merge_part *y = b;
	int order = sum_group_key_compare(&x->key, &y->key);
	if (order != 0)
		return order;
	if (x->source != y->source)
		return x->source < y->source ? -1 : 1;
	return x->group < y->group ? -1 : x->group > y->group;
}

/* The total over all groups and sources, which the writer must know before the groups. */
static int merge_totals(struct merge *merge)
{
	bool is_overflown = false;
	for (uint32_t s = 0; s < merge->sources_count; s++) {
		const struct merge_source *source = &merge->sources[s];
		const struct sum_block *block = source->block;
		const uint32_t *order, *narrow;
		const uint64_t *wide;
		int r = sum_block_get_order(block, source->memory, &order);
		r = r < 0 ? r
		          : sum_get_values(
		                    source->memory, &block->totals, block->samples, &narrow, &wide);
		if (r < 0)
			return r;
		for (uint32_t i = 0; i < block->dictionary_count; i++) {
			uint64_t value = narrow ? narrow[order[i]] : wide[order[i]];
			uint64_t *total = &merge->totals[source->places[i]];
			is_overflown |= __builtin_add_overflow(*total, value, total);
		}
	}
	return is_overflown ? -EOVERFLOW : 0;
}

static int merge_list_parts(struct merge *merge)
{
	size_t count = 0;
	for (uint32_t s = 0; s < merge->sources_count; s++)
		count += merge->sources[s].block->groups_count;
	merge->parts = malloc((count + 1) * sizeof(*merge->parts));
	if (!merge->parts || count > UINT32_MAX)
		return -ENOMEM;
	for (uint32_t s = 0; s < merge->sources_count; s++) {
		for (uint32_t g = 0; g < merge->sources[s].block->groups_count; g++) {
			struct sum_group_key key = merge->sources[s].groups[g].key;
			if (merge->options.regroup)
				key = merge->options.regroup(merge->options.owner, key);
			merge->parts[merge->parts_count++] = (struct merge_part){ key, s, g };
		}
	}
	qsort(merge->parts, merge->parts_count, sizeof(*merge->parts), merge_part_compare);
	return 0;
}

static int merge_add_values(struct merge *merge, struct merge_part part, struct sum_group *to)
{
	const struct merge_source *source = &merge->sources[part.source];
	const uint32_t *narrow;
	const uint64_t *wide;
	const struct column_wide *columns = (const void *)source->memory->values.bytes;
	int r = sum_get_values(source->memory, &columns[part.group],
	        source->groups[part.group].samples, &narrow, &wide);
	if (r < 0)
		return r;
	bool is_overflown = false;
	uint64_t folded = 0;
	for (uint32_t i = 0; i < source->block->dictionary_count; i++) {
		uint64_t value = narrow ? narrow[i] : wide[i];
		uint64_t *sum = &merge->values[source->places[i]];
		is_overflown |= __builtin_add_overflow(*sum, value, sum);
		folded += source->folded[i] ? value : 0; /* part of samples, which fit */
	}
	/*
	 * What was folded before may be folded again: it is not known which, so it is not counted
	 * twice where that would be more than there is.
	 */
	const struct sum_group *group = &source->groups[part.group];
	folded = folded > group->folded ? folded : group->folded;
	is_overflown |= __builtin_add_overflow(to->folded, folded, &to->folded);
	is_overflown |= __builtin_add_overflow(
	        to->coverage_ns, group->coverage_ns, &to->coverage_ns);
	return is_overflown ? -EOVERFLOW : 0;
}

/* Both ascending: the reasons of `from` are put among those that are there. */
static int merge_add_losses(struct merge *merge, const struct sum_group *from)
{
	if (from->losses_count == 0)
		return 0;
	size_t room = (size_t)merge->losses_count + from->losses_count;
	struct sum_loss *losses = malloc(room * sizeof(*losses));
	if (!losses)
		return -ENOMEM;
	uint32_t count = 0;
	bool is_overflown = false;
	for (uint32_t a = 0, b = 0; a < merge->losses_count || b < from->losses_count;) {
		bool has_a = a < merge->losses_count;
		bool has_b = b < from->losses_count;
		uint64_t reason_a = has_a ? merge->losses[a].reason : UINT64_MAX;
		uint64_t reason_b = has_b ? from->losses[b].reason : UINT64_MAX;
		struct sum_loss loss = reason_a <= reason_b ? merge->losses[a] : from->losses[b];
		if (reason_a == reason_b)
			is_overflown |= __builtin_add_overflow(
			        loss.count, from->losses[b].count, &loss.count);
		a += reason_a <= reason_b;
		b += reason_b <= reason_a;
		losses[count++] = loss;
	}
	free(merge->losses);
	merge->losses = losses;
	merge->losses_count = count;
	return is_overflown ? -EOVERFLOW : 0;
}

static int compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int merge_finish_instances(struct merge *merge, struct sum_group *to)
{
	if (merge->instances.failed)
		return -ENOMEM;
	uint32_t *instances = (uint32_t *)(void *)merge->instances.bytes;
	size_t count = merge->instances.count / sizeof(*instances);
	uint32_t kept = 0;
	for (size_t i = 0; merge->options.instance && i < count; i++)
		instances[i] = merge->options.instance(merge->options.owner, instances[i]);
	if (count > 1)
		qsort(instances, count, sizeof(*instances), compare_u32);
	for (size_t i = 0; i < count; i++)
		if (i == 0 || instances[i] != instances[i - 1])
			instances[kept++] = instances[i];
	to->instances = instances;
	to->instances_count = kept;
	return 0;
}

/* The parts [first, end) are one group. */
static int merge_group(struct merge *merge, uint32_t first, uint32_t end, struct sum_writer *writer)
{
	struct sum_group to = { .key = merge->parts[first].key };
	memset(merge->values, 0, merge->nodes_count * sizeof(*merge->values));
	buf_reset(&merge->instances);
	merge->losses_count = 0;

	int r = 0;
	for (uint32_t i = first; i < end && r == 0; i++) {
		struct merge_part part = merge->parts[i];
		const struct sum_group *from = &merge->sources[part.source].groups[part.group];
		r = merge_add_values(merge, part, &to);
		r = r < 0 ? r : merge_add_losses(merge, from);
		if (from->instances_count)
			buf_put(&merge->instances, from->instances,
			        from->instances_count * sizeof(*from->instances));
	}
	r = r < 0 ? r : merge_finish_instances(merge, &to);
	to.losses = merge->losses;
	to.losses_count = merge->losses_count;
	return r < 0 ? r : sum_writer_put(writer, &to, merge->values);
}

static int merge_groups(struct merge *merge, struct sum_writer *writer)
{
	uint32_t groups_count = 0;
	int r = 0;
	for (uint32_t first = 0, end; first < merge->parts_count && r == 0; first = end) {
		const struct sum_group_key *key = &merge->parts[first].key;
		for (end = first + 1; end < merge->parts_count; end++)
			if (sum_group_key_compare(key, &merge->parts[end].key) != 0)
				break;
		r = groups_count++ < SUMS_GROUPS_MAX ? merge_group(merge, first, end, writer)
		                                     : -E2BIG;
	}
	return r;
}

static int merge_run(struct merge *merge, const struct sum_source *sources, struct sum_keys keys,
        struct buf *to, struct buf *values)
{
	struct sum_writer_options options = {
		.from_ns = merge->sources_count ? UINT64_MAX : 0,
		.is_dictionary_elsewhere = merge->options.is_dictionary_elsewhere,
		.effort = merge->options.effort,
	};
	int r = 0;
	for (uint32_t i = 0; i < merge->sources_count && r == 0; i++) {
		const struct sum_block *block = sources[i].block;
		options.from_ns = block->from_ns < options.from_ns ? block->from_ns
		                                                   : options.from_ns;
		options.to_ns = block->to_ns > options.to_ns ? block->to_ns : options.to_ns;
		r = merge_open_source(merge, &sources[i], i);
	}
	r = r < 0 ? r : merge_dictionaries(merge);
	r = r < 0 ? r : merge_totals(merge);
	r = r < 0 ? r : merge_list_parts(merge);
	if (r < 0)
		return r;
	options.totals = merge->totals;
	options.dictionary = (struct sum_dictionary){ merge->nodes, merge->nodes_count };
	AUTO(sum_writer) writer = sum_writer_new(options);
	if (!writer)
		return -ENOMEM;
	r = merge_groups(merge, writer);
	return r < 0 ? r : sum_writer_finish(writer, keys, to, values);
}

int sum_merge(const struct sum_source *sources, uint32_t count, struct sum_merge_options options,
        struct sum_keys keys, struct buf *to, struct buf *values)
{
	struct merge merge = { .options = options, .sources_count = count };
	merge.sources = calloc((size_t)count + 1, sizeof(*merge.sources));
	int r = merge.sources ? merge_run(&merge, sources, keys, to, values) : -ENOMEM;
	merge_fini(&merge);
	return r;
}

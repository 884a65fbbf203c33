/*
 * Sum blocks: groups and totals come back, and adding blocks is adding what they were made from, in
 * any order and grouping.
 */

#include "storage/sum_block.h"

#include <errno.h>

#include "core/rng.h"
#include "storage/block_head.h"
#include "tests/lib/fault.h"
#include "tests/unit/profile/golden_hex.h"

#define SEEDS     40
#define NODES     4000
#define GROUPS    9
#define INSTANCES 30
#define REASONS   4
#define GOLDEN    "tests/golden/block_v2.hex"
#define GOLDEN_1  "tests/golden/block_v1.hex"

static const struct kv_bytes key = { "10m/service/cpu", 15 };
static const struct kv_bytes values_key = { "10m/service/cpu values", 22 };
static const struct sum_keys keys = { { "10m/service/cpu", 15 }, { "10m/service/cpu values", 22 } };

static struct kv_bytes bytes_of(const struct buf *buf)
{
	return (struct kv_bytes){ buf->bytes, buf->count };
}

/* A block, and the values of its groups. */
struct encoded {
	struct buf block;
	struct buf values;
};

static void encoded_fini(struct encoded *encoded)
{
	buf_fini(&encoded->block);
	buf_fini(&encoded->values);
}
#define AUTO_ENCODED __attribute__((cleanup(encoded_fini))) struct encoded

static void encoded_reset(struct encoded *encoded)
{
	buf_reset(&encoded->block);
	buf_reset(&encoded->values);
}

static struct sum_source source_of(const struct sum_block *block, const struct encoded *encoded)
{
	return (struct sum_source){
		.block = block,
		.values_key = values_key,
		.values = bytes_of(&encoded->values),
	};
}

/* What a block says, the plain way: a sum for each possible node and group. */
struct model {
	uint64_t from_ns, to_ns;
	bool has_group[GROUPS];
	bool has_node[NODES];
	uint64_t values[GROUPS][NODES];
	uint64_t folded[GROUPS];
	uint64_t coverage_ns[GROUPS];
	bool has_instance[GROUPS][INSTANCES];
	uint64_t lost[GROUPS][REASONS];
};

static struct sum_group_key model_key(uint32_t group)
{
	return (struct sum_group_key){ .flags = group == 8 ? SUM_GROUP_RECORDED : 0,
		.version = 10 + group / 4,
		.region = 20 + group / 2 % 2,
		.bucket = group % 2 * 15,
		.period = 20408163 };
}

static struct model *model_new(uint64_t seed)
{
	struct model *model = calloc(1, sizeof(*model));
	struct rng rng;
	CHECK(model);
	rng_init(&rng, seed);
	model->from_ns = UINT64_C(1700000000000000000) + seed % 7 * UINT64_C(600000000000);
	model->to_ns = model->from_ns + UINT64_C(600000000000);
	uint32_t rows = (uint32_t)rng_below(&rng, 6000);
	for (uint32_t i = 0; i < rows; i++) {
		uint32_t group = (uint32_t)rng_below(&rng, 1 + seed % GROUPS);
		uint32_t node = (uint32_t)(rng_below(&rng, NODES) * rng_below(&rng, NODES) / NODES);
		uint64_t value = 1 + (rng_below(&rng, 10) ? 0 : rng_u64(&rng) >> (24 + seed % 40));
		model->has_group[group] = true;
		model->has_node[node] = true;
		model->values[group][node] += value;
	}
	for (uint32_t group = 0; group < GROUPS; group++) {
		if (rng_below(&rng, 4) == 0)
			model->has_group[group] = true;
		if (!model->has_group[group])
			continue;
		model->coverage_ns[group] = rng_u64(&rng) >> (20 + seed % 30);
		for (uint32_t i = 0; i < INSTANCES; i++)
			model->has_instance[group][i] = rng_below(&rng, 3) == 0;
		for (uint32_t i = 0; i < REASONS; i++)
			if (rng_below(&rng, 5) == 0)
				model->lost[group][i] = 1 + rng_below(&rng, 1000);
	}
	return model;
}

static void model_free(struct model *model)
{
	free(model);
}
DEFINE_AUTO(model);

static void model_add(struct model *to, const struct model *from)
{
	to->from_ns = to->to_ns == 0 || from->from_ns < to->from_ns ? from->from_ns : to->from_ns;
	to->to_ns = from->to_ns > to->to_ns ? from->to_ns : to->to_ns;
	for (uint32_t node = 0; node < NODES; node++)
		to->has_node[node] |= from->has_node[node];
	for (uint32_t group = 0; group < GROUPS; group++) {
		to->has_group[group] |= from->has_group[group];
		to->folded[group] += from->folded[group];
		to->coverage_ns[group] += from->coverage_ns[group];
		for (uint32_t node = 0; node < NODES; node++)
			to->values[group][node] += from->values[group][node];
		for (uint32_t i = 0; i < INSTANCES; i++)
			to->has_instance[group][i] |= from->has_instance[group][i];
		for (uint32_t i = 0; i < REASONS; i++)
			to->lost[group][i] += from->lost[group][i];
	}
}

static uint32_t model_nodes(const struct model *model, uint32_t *nodes)
{
	uint32_t count = 0;
	for (uint32_t node = 0; node < NODES; node++)
		if (model->has_node[node])
			nodes[count++] = node;
	return count;
}

static void model_put_group(const struct model *model, uint32_t group,
        struct sum_dictionary dictionary, struct sum_writer *writer)
{
	uint32_t instances[INSTANCES];
	struct sum_loss losses[REASONS];
	struct sum_group facts = {
		.key = model_key(group),
		.folded = model->folded[group],
		.coverage_ns = model->coverage_ns[group],
		.instances = instances,
		.losses = losses,
	};
	for (uint32_t i = 0; i < INSTANCES; i++)
		if (model->has_instance[group][i])
			instances[facts.instances_count++] = 100 + i * 3;
	for (uint32_t i = 0; i < REASONS; i++)
		if (model->lost[group][i])
			losses[facts.losses_count++] = (struct sum_loss){ 1 + i,
				model->lost[group][i] };
	autofree uint64_t *values = calloc(dictionary.count + 1, sizeof(*values));
	for (uint32_t i = 0; i < dictionary.count; i++)
		values[i] = model->values[group][dictionary.nodes[i]];
	CHECK_OK(sum_writer_put(writer, &facts, values));
}

static void model_encode(const struct model *model, bool is_dictionary_elsewhere,
        enum column_effort effort, struct encoded *to)
{
	uint32_t nodes[NODES];
	uint64_t totals[NODES] = { 0 };
	struct sum_writer_options options = {
		.from_ns = model->from_ns,
		.to_ns = model->to_ns,
		.dictionary = { nodes, model_nodes(model, nodes) },
		.is_dictionary_elsewhere = is_dictionary_elsewhere,
		.totals = totals,
		.effort = effort,
	};
	for (uint32_t i = 0; i < options.dictionary.count; i++)
		for (uint32_t group = 0; group < GROUPS; group++)
			totals[i] += model->values[group][nodes[i]];
	AUTO(sum_writer) writer = sum_writer_new(options);
	for (uint32_t group = 0; group < GROUPS; group++)
		if (model->has_group[group])
			model_put_group(model, group, options.dictionary, writer);
	encoded_reset(to);
	CHECK_OK(sum_writer_finish(writer, keys, &to->block, &to->values));
}

static void check_facts(const struct model *model, uint32_t group, const struct sum_group *facts)
{
	struct sum_group_key expected = model_key(group);
	CHECK(sum_group_key_compare(&facts->key, &expected) == 0);
	assert_int_equal(facts->folded, model->folded[group]);
	assert_int_equal(facts->coverage_ns, model->coverage_ns[group]);
	uint32_t instances = 0, losses = 0;
	for (uint32_t i = 0; i < INSTANCES; i++) {
		if (!model->has_instance[group][i])
			continue;
		CHECK(instances < facts->instances_count);
		assert_int_equal(facts->instances[instances++], 100 + i * 3);
	}
	for (uint32_t i = 0; i < REASONS; i++) {
		if (!model->lost[group][i])
			continue;
		CHECK(losses < facts->losses_count);
		assert_int_equal(facts->losses[losses].reason, 1 + i);
		assert_int_equal(facts->losses[losses++].count, model->lost[group][i]);
	}
	assert_int_equal(facts->instances_count, instances);
	assert_int_equal(facts->losses_count, losses);
}

static void check_block(const struct model *model, const struct encoded *bytes)
{
	AUTO(sum_memory) memory = sum_memory_new();
	uint32_t expected[NODES];
	uint32_t count = model_nodes(model, expected);
	struct sum_block block;
	const struct sum_group *groups;
	const uint32_t *order;
	const uint64_t *got;
	CHECK_OK(sum_block_open(key, bytes_of(&bytes->block), &block));
	assert_int_equal(block.from_ns, model->from_ns);
	assert_int_equal(block.to_ns, model->to_ns);
	assert_int_equal(block.dictionary_count, count);
	CHECK(block.dictionary_hash ==
	        sum_dictionary_hash((struct sum_dictionary){ expected, count }));
	if (!block.is_dictionary_elsewhere) {
		autofree uint32_t *nodes = calloc(count + 1, sizeof(*nodes));
		CHECK_OK(sum_block_get_dictionary(&block, memory, nodes));
		assert_memory_equal(nodes, expected, count * sizeof(*nodes));
	}

	CHECK(block.has_values_apart == (block.groups_count > 1));
	CHECK(block.has_values_apart == (bytes->values.count > 0));
	CHECK_OK(sum_block_get_groups(&block, memory, &groups));
	CHECK_OK(sum_block_open_values(&block, memory, values_key, bytes_of(&bytes->values)));
	CHECK_OK(sum_block_get_order(&block, memory, &order));
	AUTO(stack_sums) sums = stack_sums_new(count);
	autofree uint64_t *totals = calloc(count + 1, sizeof(*totals));
	uint32_t at = 0;
	for (uint32_t group = 0; group < GROUPS; group++) {
		if (!model->has_group[group])
			continue;
		CHECK(at < block.groups_count);
		check_facts(model, group, &groups[at]);
		stack_sums_reset(sums);
		CHECK_OK(sum_block_add_group(&block, memory, at++, sums));
		CHECK_OK(stack_sums_get(sums, &got));
		for (uint32_t i = 0; i < count; i++) {
			CHECK(order[i] < count);
			assert_int_equal(got[i], model->values[group][expected[order[i]]]);
			totals[order[i]] += got[i];
		}
	}
	assert_int_equal(block.groups_count, at);
	stack_sums_reset(sums);
	CHECK_OK(sum_block_add_total(&block, memory, sums));
	CHECK_OK(stack_sums_get(sums, &got));
	assert_memory_equal(got, totals, count * sizeof(*got));
}

static void groups_and_totals_come_back(void **state)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		AUTO(model) model = model_new(seed);
		AUTO_ENCODED bytes = { 0 };
		model_encode(model, seed % 3 == 0, seed % 2 ? COLUMN_FAST : COLUMN_SMALL, &bytes);
		check_block(model, &bytes);
	}
}

/* Blocks of `count` encodings into one; every one has its own dictionary. */
static int merge(struct encoded *const *blocks, uint32_t count, struct sum_merge_options options,
        struct encoded *to)
{
	struct sum_block opened[8];
	struct sum_source sources[8];
	for (uint32_t i = 0; i < count; i++) {
		CHECK_OK(sum_block_open(key, bytes_of(&blocks[i]->block), &opened[i]));
		sources[i] = source_of(&opened[i], blocks[i]);
	}
	options.nodes_count = NODES;
	encoded_reset(to);
	return sum_merge(sources, count, options, keys, &to->block, &to->values);
}

static void adding_blocks_is_adding_what_they_were_made_from(void **state)
{
	const struct sum_merge_options options = { .effort = COLUMN_FAST };
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		AUTO(model) sum = calloc(1, sizeof(*sum));
		struct encoded blocks[4] = { 0 };
		struct encoded *pointers[4];
		AUTO_ENCODED bytes = { 0 };
		uint32_t count = (uint32_t)(seed % 5);
		for (uint32_t i = 0; i < count; i++) {
			AUTO(model) part = model_new(seed * 5 + i);
			model_add(sum, part);
			model_encode(part, false, i % 2 ? COLUMN_FAST : COLUMN_SMALL, &blocks[i]);
			pointers[i] = &blocks[i];
		}
		CHECK_OK(merge(pointers, count, options, &bytes));
		check_block(sum, &bytes);
		for (uint32_t i = 0; i < 4; i++)
			encoded_fini(&blocks[i]);
	}
}

static void check_same(const struct buf *a, const struct buf *b)
{
	assert_int_equal(a->count, b->count);
	if (a->count)
		assert_memory_equal(a->bytes, b->bytes, a->count);
}

static void adding_in_any_grouping_and_order_gives_the_same_bytes(void **state)
{
	const struct sum_merge_options options = { .effort = COLUMN_FAST };
	for (uint64_t seed = 0; seed < 10; seed++) {
		struct encoded parts[3] = { 0 };
		AUTO_ENCODED all = { 0 };
		AUTO_ENCODED two = { 0 };
		AUTO_ENCODED then_third = { 0 };
		for (uint32_t i = 0; i < 3; i++) {
			AUTO(model) model = model_new(seed * 3 + i + 1000);
			model_encode(model, false, COLUMN_FAST, &parts[i]);
		}
		CHECK_OK(merge(
		        (struct encoded *[]){ &parts[2], &parts[0], &parts[1] }, 3, options, &all));
		CHECK_OK(merge((struct encoded *[]){ &parts[0], &parts[1] }, 2, options, &two));
		CHECK_OK(merge((struct encoded *[]){ &two, &parts[2] }, 2, options, &then_third));
		check_same(&all.block, &then_third.block);
		check_same(&all.values, &then_third.values);
		for (uint32_t i = 0; i < 3; i++)
			encoded_fini(&parts[i]);
	}
}

static struct sum_group_key regroup_to_version(void *owner, struct sum_group_key from)
{
	return (struct sum_group_key){ .version = from.version, .period = from.period };
}

static uint32_t fold_to_even(void *owner, uint32_t node)
{
	return node & ~1u;
}

static void regrouped_and_folded_sums_are_counted_as_such(void **state)
{
	const struct sum_merge_options options = { .regroup = regroup_to_version,
		.fold = fold_to_even };
	AUTO(model) model = model_new(17);
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO_ENCODED bytes = { 0 };
	AUTO_ENCODED merged = { 0 };
	struct sum_block block;
	const struct sum_group *groups;
	const uint32_t *order;
	const uint64_t *got;
	uint32_t nodes[NODES];
	model_encode(model, false, COLUMN_FAST, &bytes);
	CHECK_OK(merge((struct encoded *[]){ &bytes }, 1, options, &merged));
	CHECK_OK(sum_block_open(key, bytes_of(&merged.block), &block));
	CHECK_OK(sum_block_get_dictionary(&block, memory, nodes));
	CHECK_OK(sum_block_get_groups(&block, memory, &groups));
	CHECK_OK(sum_block_open_values(&block, memory, values_key, bytes_of(&merged.values)));
	CHECK_OK(sum_block_get_order(&block, memory, &order));
	assert_int_equal(block.groups_count, 3);
	AUTO(stack_sums) sums = stack_sums_new(block.dictionary_count);
	for (uint32_t g = 0; g < 3; g++) {
		uint64_t folded = 0;
		static uint64_t expected[NODES];
		memset(expected, 0, sizeof(expected));
		for (uint32_t group = g * 4; group < g * 4 + 4 && group < GROUPS; group++) {
			for (uint32_t node = 0; node < NODES; node++) {
				expected[node & ~1u] += model->values[group][node];
				folded += node % 2 ? model->values[group][node] : 0;
			}
		}
		assert_int_equal(groups[g].key.version, 10 + g);
		assert_int_equal(groups[g].folded, folded);
		stack_sums_reset(sums);
		CHECK_OK(sum_block_add_group(&block, memory, g, sums));
		CHECK_OK(stack_sums_get(sums, &got));
		for (uint32_t i = 0; i < block.dictionary_count; i++) {
			assert_int_equal(nodes[i] % 2, 0);
			assert_int_equal(got[i], expected[nodes[order[i]]]);
		}
	}
}

static void dictionary_elsewhere_must_be_the_one_that_is_named(void **state)
{
	AUTO(model) model = model_new(12);
	AUTO_ENCODED bytes = { 0 };
	AUTO_ENCODED merged = { 0 };
	uint32_t nodes[NODES];
	struct sum_block block;
	const struct sum_merge_options options = { .nodes_count = NODES };
	model_encode(model, true, COLUMN_FAST, &bytes);
	CHECK_OK(sum_block_open(key, bytes_of(&bytes.block), &block));
	struct sum_source source = source_of(&block, &bytes);
	source.dictionary = (struct sum_dictionary){ nodes, model_nodes(model, nodes) };
	CHECK_OK(sum_merge(&source, 1, options, keys, &merged.block, &merged.values));
	check_block(model, &merged);

	encoded_reset(&merged);
	nodes[3]++;
	assert_int_equal(
	        sum_merge(&source, 1, options, keys, &merged.block, &merged.values), -EBADMSG);
	nodes[3]--;
	source.dictionary.count--;
	assert_int_equal(
	        sum_merge(&source, 1, options, keys, &merged.block, &merged.values), -EBADMSG);
}

static void nodes_that_do_not_exist_are_refused(void **state)
{
	AUTO(model) model = model_new(13);
	AUTO_ENCODED bytes = { 0 };
	AUTO_ENCODED merged = { 0 };
	struct sum_block block;
	model_encode(model, false, COLUMN_FAST, &bytes);
	CHECK_OK(sum_block_open(key, bytes_of(&bytes.block), &block));
	struct sum_source source = source_of(&block, &bytes);
	struct sum_merge_options options = { .nodes_count = 10 };
	assert_int_equal(
	        sum_merge(&source, 1, options, keys, &merged.block, &merged.values), -EBADMSG);
}

/* One stack, one group. */
static void tiny(uint64_t value, uint64_t coverage_ns, struct encoded *to)
{
	uint32_t node = 5;
	struct sum_group group = { .key = { .period = 1 }, .coverage_ns = coverage_ns };
	struct sum_writer_options options = { .dictionary = { &node, 1 }, .totals = &value };
	AUTO(sum_writer) writer = sum_writer_new(options);
	CHECK_OK(sum_writer_put(writer, &group, &value));
	CHECK_OK(sum_writer_finish(writer, keys, &to->block, &to->values));
}

static void sums_past_64_bits_are_an_error(void **state)
{
	static const struct {
		uint64_t values[2];
		uint64_t coverage_ns[2];
		int result;
	} cases[] = {
		{ { UINT64_MAX - 1, 1 }, { UINT64_MAX, 0 }, 0 },
		{ { UINT64_MAX, 1 }, { 0, 0 }, -EOVERFLOW },
		{ { 1, 1 }, { UINT64_MAX, 1 }, -EOVERFLOW },
	};
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		AUTO_ENCODED a = { 0 };
		AUTO_ENCODED b = { 0 };
		AUTO_ENCODED merged = { 0 };
		tiny(cases[i].values[0], cases[i].coverage_ns[0], &a);
		tiny(cases[i].values[1], cases[i].coverage_ns[1], &b);
		assert_int_equal(merge((struct encoded *[]){ &a, &b }, 2,
		                         (struct sum_merge_options){ 0 }, &merged),
		        cases[i].result);
	}

	uint32_t nodes[] = { 1, 2 };
	uint64_t values[] = { UINT64_MAX, 1 };
	struct sum_group group = { .key = { .period = 1 } };
	struct sum_writer_options options = { .dictionary = { nodes, 2 }, .totals = values };
	AUTO(sum_writer) writer = sum_writer_new(options);
	assert_int_equal(sum_writer_put(writer, &group, values), -EOVERFLOW);
}

/* Whether both parts of it can be opened. */
static int open_both(const struct encoded *bytes, struct kv_bytes of_key, struct kv_bytes of_values)
{
	AUTO(sum_memory) memory = sum_memory_new();
	struct sum_block block;
	const struct sum_group *groups;
	int r = sum_block_open(of_key, bytes_of(&bytes->block), &block);
	r = r < 0 ? r : sum_block_get_groups(&block, memory, &groups);
	return r < 0 ? r
	             : sum_block_open_values(&block, memory, of_values, bytes_of(&bytes->values));
}

static void every_flipped_bit_is_refused(void **state)
{
	AUTO(model) model = model_new(4);
	AUTO_ENCODED bytes = { 0 };
	struct buf *const parts[] = { &bytes.block, &bytes.values };
	struct kv_bytes other = { "1h/service/cpu", 14 };
	memset(model->has_node + 50, 0, sizeof(model->has_node) - 50);
	model_encode(model, false, COLUMN_FAST, &bytes);
	CHECK_OK(open_both(&bytes, key, values_key));
	assert_int_equal(open_both(&bytes, other, values_key), -EBADMSG);
	assert_int_equal(open_both(&bytes, key, other), -EBADMSG);
	for (size_t part = 0; part < COUNT_OF(parts); part++) {
		CHECK(parts[part]->count > BLOCK_HEAD_BYTES);
		for (size_t bit = 0; bit < parts[part]->count * 8; bit++) {
			parts[part]->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(open_both(&bytes, key, values_key), -EBADMSG);
			parts[part]->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

/* Both are whole, but they are not of each other. */
static void values_of_another_block_and_none_are_refused(void **state)
{
	AUTO(model) model = model_new(5);
	AUTO(model) other = model_new(5);
	AUTO_ENCODED bytes = { 0 };
	AUTO_ENCODED others = { 0 };
	uint32_t node = 0;
	while (!model->has_node[node])
		node++;
	uint64_t kept = other->values[0][node];
	CHECK(other->has_group[0] && other->has_group[1]);
	other->values[0][node] = other->values[1][node];
	other->values[1][node] = kept;
	other->values[0][node]++;
	model_encode(model, false, COLUMN_FAST, &bytes);
	model_encode(other, false, COLUMN_FAST, &others);
	CHECK_OK(open_both(&others, key, values_key));
	struct buf values = bytes.values;
	bytes.values = others.values;
	others.values = values;
	assert_int_equal(open_both(&bytes, key, values_key), -EBADMSG);
	buf_reset(&bytes.values);
	assert_int_equal(open_both(&bytes, key, values_key), -EBADMSG);
}

/* Sealed anew with that bit flipped, as a writer gone mad would, in memory of exactly their size.
 */
static bool flipped_is_refused(struct encoded *bytes, struct buf *part, size_t bit)
{
	AUTO_ENCODED merged = { 0 };
	struct sum_block block;
	const struct sum_merge_options options = { .nodes_count = NODES };
	part->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	block_head_seal(part, part == &bytes->block ? key : values_key);
	autofree uint8_t *exact = malloc(bytes->block.count);
	autofree uint8_t *exact_values = malloc(bytes->values.count);
	memcpy(exact, bytes->block.bytes, bytes->block.count);
	memcpy(exact_values, bytes->values.bytes, bytes->values.count);
	int r = sum_block_open(key, (struct kv_bytes){ exact, bytes->block.count }, &block);
	if (part == &bytes->values)
		block.values_checksum = block_head_checksum(
		        (struct kv_bytes){ exact_values, bytes->values.count });
	struct sum_source source = source_of(&block, bytes);
	source.values.bytes = exact_values;
	r = r < 0 ? r : sum_merge(&source, 1, options, keys, &merged.block, &merged.values);
	CHECK(r == 0 || r == -EBADMSG || r == -EOVERFLOW);
	part->bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	block_head_seal(part, part == &bytes->block ? key : values_key);
	return r < 0;
}

/* The checksum is right. Reading and adding up survive it. */
static void flipped_bits_under_a_right_checksum_are_refused_or_sums(void **state)
{
	uint32_t refused = 0;
	for (uint64_t seed = 3; seed < 6; seed++) {
		AUTO(model) model = model_new(seed);
		AUTO_ENCODED bytes = { 0 };
		struct buf *const parts[] = { &bytes.block, &bytes.values };
		memset(model->has_node + 40, 0, sizeof(model->has_node) - 40);
		model_encode(model, false, seed % 2 ? COLUMN_SMALL : COLUMN_FAST, &bytes);
		for (size_t part = 0; part < COUNT_OF(parts); part++)
			for (size_t bit = BLOCK_HEAD_BYTES * 8; bit < parts[part]->count * 8; bit++)
				refused += flipped_is_refused(&bytes, parts[part], bit);
	}
	CHECK(refused > 100);
}

static void out_of_memory_is_said(void **state)
{
	AUTO(model) model = model_new(8);
	AUTO_ENCODED bytes = { 0 };
	struct sum_block block;
	model_encode(model, false, COLUMN_FAST, &bytes);
	CHECK_OK(sum_block_open(key, bytes_of(&bytes.block), &block));
	struct sum_source source = source_of(&block, &bytes);
	struct sum_merge_options options = { .nodes_count = NODES };
	for (uint32_t nth = 0;; nth++) {
		AUTO_ENCODED merged = { 0 };
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int r = sum_merge(&source, 1, options, keys, &merged.block, &merged.values);
		if (!fault_disarm()) {
			CHECK_OK(r);
			break;
		}
		assert_int_equal(r, -ENOMEM);
	}
}

static const uint64_t golden_second[] = { 2, 1, 0 };

/* Three stacks in two buckets, of which the second also lost something. */
static void golden_bytes_are_written(void **state)
{
	static const uint32_t nodes[] = { 7, 8, 300 };
	static const uint64_t totals[] = { 6, 1, 2 };
	static const uint64_t first[] = { 4, 0, 2 };
	static const uint32_t instances[] = { 61, 64 };
	static const struct sum_loss loss = { 1, 3 };
	const struct sum_group groups[] = {
		{ .key = { 0, 31, 33, 2, 20408163 },
		        .coverage_ns = UINT64_C(600000000000),
		        .instances = instances,
		        .instances_count = 2 },
		{ .key = { 0, 31, 33, 9, 20408163 },
		        .folded = 1,
		        .coverage_ns = UINT64_C(300000000000),
		        .instances = instances,
		        .instances_count = 1,
		        .losses = &loss,
		        .losses_count = 1 },
	};
	const struct sum_writer_options options = {
		.from_ns = UINT64_C(1700000000000000000),
		.to_ns = UINT64_C(1700000600000000000),
		.dictionary = { nodes, COUNT_OF(nodes) },
		.totals = totals,
	};
	AUTO(sum_writer) writer = sum_writer_new(options);
	AUTO_ENCODED bytes = { 0 };
	CHECK_OK(sum_writer_put(writer, &groups[0], first));
	CHECK_OK(sum_writer_put(writer, &groups[1], golden_second));
	CHECK_OK(sum_writer_finish(writer, keys, &bytes.block, &bytes.values));
	golden_hex_check(GOLDEN, "sums", &bytes.block);
	golden_hex_check(GOLDEN, "values", &bytes.values);
}

static void check_golden(const struct encoded *golden)
{
	AUTO(sum_memory) memory = sum_memory_new();
	AUTO(stack_sums) sums = stack_sums_new(3);
	struct sum_block block;
	const struct sum_group *got;
	const uint32_t *order;
	const uint64_t *values;
	CHECK_OK(sum_block_open(key, bytes_of(&golden->block), &block));
	CHECK_OK(sum_block_get_groups(&block, memory, &got));
	CHECK_OK(sum_block_open_values(&block, memory, values_key, bytes_of(&golden->values)));
	CHECK_OK(sum_block_get_order(&block, memory, &order));
	CHECK_OK(sum_block_add_group(&block, memory, 1, sums));
	CHECK_OK(stack_sums_get(sums, &values));
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(values[i], golden_second[order[i]]);
	assert_int_equal(got[1].folded, 1);
	assert_int_equal(got[1].losses[0].count, 3);
	assert_int_equal(got[0].instances[1], 64);
	assert_int_equal(got[0].samples, 6);
}

static void golden_bytes_of_every_version_are_read(void **state)
{
	AUTO_ENCODED golden = { 0 };
	AUTO_ENCODED golden_1 = { 0 };
	golden_hex_read(GOLDEN, "sums", &golden.block);
	golden_hex_read(GOLDEN, "values", &golden.values);
	check_golden(&golden);
	golden_hex_read(GOLDEN_1, "sums", &golden_1.block);
	check_golden(&golden_1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(groups_and_totals_come_back),
		cmocka_unit_test(adding_blocks_is_adding_what_they_were_made_from),
		cmocka_unit_test(adding_in_any_grouping_and_order_gives_the_same_bytes),
		cmocka_unit_test(regrouped_and_folded_sums_are_counted_as_such),
		cmocka_unit_test(dictionary_elsewhere_must_be_the_one_that_is_named),
		cmocka_unit_test(nodes_that_do_not_exist_are_refused),
		cmocka_unit_test(sums_past_64_bits_are_an_error),
		cmocka_unit_test(every_flipped_bit_is_refused),
		cmocka_unit_test(values_of_another_block_and_none_are_refused),
		cmocka_unit_test(flipped_bits_under_a_right_checksum_are_refused_or_sums),
		cmocka_unit_test(out_of_memory_is_said),
		cmocka_unit_test(golden_bytes_are_written),
		cmocka_unit_test(golden_bytes_of_every_version_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

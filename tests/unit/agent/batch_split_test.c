/* batch_split: the parts together are the batch, each in its shard and of bounded size. */

#include "agent/batch_split.h"

#include <errno.h>

#include "profile/wire.h"
#include "tests/unit/agent/batches.h"

struct seen {
	const struct batch_split_options *options;
	uint32_t parts;
	uint64_t samples;
	uint64_t lost;
	uint64_t covered_ns;
	uint64_t greatest_bytes;
	uint64_t cart;
	int32_t shard; /* of the last part */
	int answer;
};

static int see(void *owner, uint16_t shard, const struct batch *part, const struct buf *encoded)
{
	struct seen *seen = owner;
	AUTO_BATCH again = made_decode(encoded->bytes, encoded->count);
	uint32_t name = dict_find_string(part->dict, "service", 7);

	assert_int_equal(batch_samples(again.batch), batch_samples(part));
	assert_int_equal(batch_lost(again.batch), batch_lost(part));
	for (uint32_t i = 0; seen->options->shards > 1 && i < part->rows_count; i++) {
		const char *service = dict_text(
		        part->dict, dict_label_value(part->dict, part->rows[i].series, name));

		assert_int_equal(wire_shard("acme", service, seen->options->shards), shard);
	}
	for (uint32_t i = 0; i < part->coverage_count; i++)
		seen->covered_ns += part->coverage[i].ns;
	seen->parts++;
	seen->samples += batch_samples(part);
	seen->lost += batch_lost(part);
	seen->cart += made_samples(&again, "cart");
	seen->shard = shard;
	if (encoded->count > seen->greatest_bytes)
		seen->greatest_bytes = encoded->count;
	return seen->answer;
}

/* 40 services with 50 functions each, and one service without a name. */
static struct made_batch many(void)
{
	struct made_batch made = made_batch_new(3);
	char service[16];
	char function[32];

	for (uint32_t i = 0; i < 40; i++) {
		snprintf(service, sizeof(service), "service-%u", i);
		for (uint32_t j = 0; j < 50; j++) {
			snprintf(function, sizeof(function), "function-%u-%u", i, j);
			made_row(&made, service, function, i + j + 1);
		}
		CHECK_OK(batch_add_coverage(made.batch, made_series(&made, service), NS_PER_S));
	}
	made_row(&made, "", "nameless", 7);
	made_row(&made, "cart", "main", 11);
	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, 5));
	CHECK_OK(batch_add_loss(made.batch, made_series(&made, "cart"), LOSS_THROTTLED, 6));
	CHECK_OK(batch_settle(made.batch));
	return made;
}

static void the_parts_are_the_batch(void **state)
{
	static const struct batch_split_options options[] = {
		{ "acme", 1, UINT32_MAX },
		{ "acme", 1, 4000 },
		{ "acme", 2, UINT32_MAX },
		{ "acme", 256, UINT32_MAX },
		{ "acme", 4096, 1000 },
		{ "acme", 7, 1 },
	};
	AUTO_BATCH made = many();

	for (size_t i = 0; i < COUNT_OF(options); i++) {
		struct seen seen = { .options = &options[i] };

		CHECK_OK(batch_split(made.batch, options[i], see, &seen));
		assert_int_equal(seen.samples, batch_samples(made.batch));
		assert_int_equal(seen.lost, 11);
		assert_int_equal(seen.covered_ns, 40 * NS_PER_S);
		assert_int_equal(seen.cart, 11);
		assert_true(seen.parts >= 1);
		if (options[i].bytes_max > 1 && options[i].bytes_max < UINT32_MAX)
			assert_true(seen.greatest_bytes <= options[i].bytes_max);
	}
}

static void one_shard_is_one_part(void **state)
{
	const struct batch_split_options options = { "acme", 1, UINT32_MAX };
	struct seen seen = { .options = &options };
	AUTO_BATCH made = many();

	CHECK_OK(batch_split(made.batch, options, see, &seen));
	assert_int_equal(seen.parts, 1);
	assert_int_equal(seen.shard, 0);
}

static void losses_of_nobody_have_a_place(void **state)
{
	const struct batch_split_options options = { "acme", 256, UINT32_MAX };
	struct seen seen = { .options = &options };
	AUTO_BATCH made = made_batch_new(0);

	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, 3));
	CHECK_OK(batch_split(made.batch, options, see, &seen));
	assert_int_equal(seen.parts, 1);
	assert_int_equal(seen.lost, 3);
	assert_int_equal(seen.shard, wire_shard("acme", "", 256));
}

static void a_refusal_ends_the_walk(void **state)
{
	const struct batch_split_options options = { "acme", 256, UINT32_MAX };
	struct seen seen = { .options = &options, .answer = -ENOSPC };
	AUTO_BATCH made = many();

	assert_int_equal(batch_split(made.batch, options, see, &seen), -ENOSPC);
	assert_int_equal(seen.parts, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_parts_are_the_batch),
		cmocka_unit_test(one_shard_is_one_part),
		cmocka_unit_test(losses_of_nobody_have_a_place),
		cmocka_unit_test(a_refusal_ends_the_walk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Which group of sums a series is in: its version, region and period as they are, and one of 16
 * buckets by the name of its instance. The numbers of buckets are on disk and compared over months:
 * they are written down here, so that nobody changes the hash unseen.
 */

#include "storage/sum_groups.h"

#include <stdio.h>

#include "tests/lib/test.h"

static uint32_t text(struct dict *dict, const char *bytes)
{
	uint32_t id;
	CHECK_OK(dict_cstring(dict, bytes, &id));
	return id;
}

/* Of labels as `name=value`, a NULL at the end. */
static struct sum_group_key group_of(
        struct dict *dict, uint64_t period, const char *const pairs[][2])
{
	struct series series = {
		.type = text(dict, "cpu"),
		.unit = text(dict, "nanoseconds"),
		.period = period,
	};
	struct label labels[8];
	uint32_t count = 0;
	uint32_t id;
	for (; pairs[count][0]; count++)
		labels[count] = (struct label){ text(dict, pairs[count][0]),
			text(dict, pairs[count][1]) };
	CHECK_OK(dict_series(dict, &series, labels, count, &id));
	struct sum_labels names = sum_labels_find(dict);
	return sum_labels_group(&names, dict, id);
}

static uint32_t bucket_of(struct dict *dict, const char *instance)
{
	const char *const pairs[][2] = { { "instance", instance }, { NULL, NULL } };
	return group_of(dict, 1, pairs).bucket;
}

static void a_bucket_is_xxh3_of_the_instance_modulo_16(void **state)
{
	static const struct {
		const char *instance;
		uint32_t bucket;
	} known[] = {
		{ "", 2 }, /* none is as an empty one */
		{ "a", 15 },
		{ "pod-0", 1 },
		{ "pod-1", 13 },
		{ "pod-2", 2 },
		{ "10.0.0.7", 10 },
		{ "cart-7f9c-x2", 7 },
		{ "\xff\xfe", 6 },
	};
	AUTO(dict) dict = dict_new(dict_limits_default);
	for (size_t i = 0; i < COUNT_OF(known); i++)
		assert_int_equal(bucket_of(dict, known[i].instance), known[i].bucket);
}

static void every_bucket_has_about_as_many_instances(void **state)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint32_t counts[16] = { 0 };
	for (uint32_t i = 0; i < 1600; i++) {
		char instance[16];
		snprintf(instance, sizeof(instance), "host%u", i);
		uint32_t bucket = bucket_of(dict, instance);
		CHECK(bucket < COUNT_OF(counts));
		counts[bucket]++;
	}
	for (size_t i = 0; i < COUNT_OF(counts); i++)
		assert_in_range(counts[i], 50, 150);
}

static void other_labels_do_not_part_a_group(void **state)
{
	static const char *const pairs[][2] = { { "instance", "pod-0" }, { "region", "eu" },
		{ "service", "cart" }, { "version", "1" }, { NULL, NULL } };
	static const char *const more[][2] = { { "instance", "pod-0" }, { "region", "eu" },
		{ "service", "shop" }, { "thread", "io" }, { "version", "1" }, { NULL, NULL } };
	static const char *const next[][2] = { { "instance", "pod-0" }, { "region", "eu" },
		{ "version", "2" }, { NULL, NULL } };
	static const char *const other[][2] = { { "instance", "pod-0" }, { "region", "us" },
		{ "version", "1" }, { NULL, NULL } };
	AUTO(dict) dict = dict_new(dict_limits_default);
	struct sum_group_key key = group_of(dict, 7, pairs);
	assert_string_equal(dict_text(dict, key.version), "1");
	assert_string_equal(dict_text(dict, key.region), "eu");
	assert_int_equal(key.bucket, 1);
	assert_int_equal(key.period, 7);
	assert_int_equal(key.flags, 0);
	struct sum_group_key same = group_of(dict, 7, more);
	assert_int_equal(sum_group_key_compare(&key, &same), 0);
	struct sum_group_key others[] = { group_of(dict, 8, pairs), group_of(dict, 7, next),
		group_of(dict, 7, other) };
	for (size_t i = 0; i < COUNT_OF(others); i++)
		CHECK(sum_group_key_compare(&key, &others[i]) != 0);
}

static void what_is_recorded_is_apart(void **state)
{
	static const char *const recorded[][2] = { { "recorded", "true" }, { NULL, NULL } };
	static const char *const said[][2] = { { "recorded", "yes" }, { NULL, NULL } };
	AUTO(dict) dict = dict_new(dict_limits_default);
	assert_int_equal(group_of(dict, 1, said).flags, 0);
	assert_int_equal(group_of(dict, 1, recorded).flags, SUM_GROUP_RECORDED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_bucket_is_xxh3_of_the_instance_modulo_16),
		cmocka_unit_test(every_bucket_has_about_as_many_instances),
		cmocka_unit_test(other_labels_do_not_part_a_group),
		cmocka_unit_test(what_is_recorded_is_apart),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * One writer, one who seals and makes sums of what is open, several readers, at once; made for
 * ThreadSanitizer. What a reader sees lies between what was acknowledged before he asked and what
 * was begun when he had his answer, whole groups only, and every name he is given is the one that
 * belongs to the number, also while groups fail and are taken back and the database is closed and
 * opened again under him.
 */

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tests/lib/fault.h"
#include "tests/unit/storage/store_fixture.h"

#define GROUPS     400
#define READERS    3
#define FAILS_EACH 50 /* groups */
#define HEADS_EACH 5

static _Atomic uint64_t begun;
static _Atomic uint64_t acknowledged;
static _Atomic bool is_over;

/* Each group holds two sections of one sample each, on a series and a function named alike. */
static void append_group(struct store *store, struct source *sources, uint64_t group, int expected)
{
	struct store_append appends[2];
	char name[32];
	snprintf(name, sizeof(name), "n%u", (unsigned int)(group / 3));
	for (uint32_t i = 0; i < 2; i++) {
		struct source *source = &sources[i];
		source_begin(source, group * SECOND, SECOND);
		CHECK_OK(batch_add_row(source->batch, source_series(source, name, name, 1),
		        source_stack(source, name), 1));
		appends[i] = source_section(source, group);
	}
	int r = store_append(store, appends, 2);
	CHECK(expected ? r < 0 : r == 0);
}

static void check_names(struct store *store, const struct store_sum *sum)
{
	store_read_lock(store);
	const struct dict *dict = store_dict(store);
	for (uint32_t i = 0; i < sum->parts[0].rows_count; i++) {
		uint32_t name = dict_find_string(dict, "service", 7);
		const char *service = dict_text(
		        dict, dict_label_value(dict, sum->parts[0].rows[i].group, name));
		struct node node = dict_get_node(dict, sum->parts[0].rows[i].node);
		const char *function = dict_text(dict, dict_get_frame(dict, node.frame).function);
		assert_string_equal(service, function);
	}
	store_read_unlock(store);
}

static int add_samples(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	*(uint64_t *)owner += batch_samples(batch);
	return 0;
}

static void *read_until_over(void *argument)
{
	struct store *store = argument;
	while (!is_over) {
		uint64_t before = acknowledged;
		struct store_sum sum = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
		uint64_t after = begun;
		uint64_t value = sum.completeness.value;
		CHECK(value % 2 == 0 && value / 2 >= before && value / 2 <= after);
		check_names(store, &sum);
		store_sum_fini(&sum);

		before = acknowledged;
		value = store_fixture_total(store, "cpu", 0, UINT64_MAX);
		after = begun;
		CHECK(value % 2 == 0 && value / 2 >= before && value / 2 <= after);

		uint64_t scanned = 0;
		struct store_counters counters;
		struct store_size size;
		CHECK_OK(store_scan(store, 0, UINT64_MAX, NULL, add_samples, &scanned));
		CHECK(scanned % 2 == 0 && scanned / 2 >= before);
		CHECK_OK(store_counters(store, "", &counters));
		CHECK(counters.samples / 2 >= before);
		CHECK_OK(store_size(store, &size));
		(void)store_symbols_has(store, "abc");
	}
	return NULL;
}

/* All the time, after a few turns of sums of what is open; also what is just being appended to:
 * most of that comes late. */
static void *seal_until_over(void *argument)
{
	while (!is_over) {
		/* Fails when the disk does, or when the store is opened again under it. */
		for (uint32_t i = 0; i < HEADS_EACH; i++)
			store_sum_heads(argument);
		int r = store_seal(argument, UINT64_MAX);
		CHECK(r == 0 || r == -EIO || r == -EAGAIN);
	}
	return NULL;
}

static void readers_see_whole_acknowledged_groups_with_their_names(void **state)
{
	TEST_DIR(dir);
	struct store_options options = store_fixture_options(dir.path);
	options.window_ns = 20 * SECOND;
	options.head_sums_min = 1;
	AUTO(store) store = store_fixture_open_with(options);
	struct source sources[2] = { source_new(store, 1), source_new(store, 2) };
	pthread_t readers[READERS];
	pthread_t sealer;

	for (uint32_t i = 0; i < READERS; i++)
		CHECK_OK(pthread_create(&readers[i], NULL, read_until_over, store));
	CHECK_OK(pthread_create(&sealer, NULL, seal_until_over, store));
	for (uint64_t group = 1; group <= GROUPS; group++) {
		if (group % FAILS_EACH == 0) {
			fault_limit_files(0);
			append_group(store, sources, group, -EIO);
			fault_limit_files(FAULT_FILES_ANY);
		}
		begun = group;
		append_group(store, sources, group, 0);
		acknowledged = group;
		CHECK_OK(store_symbols_put(store, "abc", "x", group % 2));
	}
	is_over = true;
	CHECK_OK(pthread_join(sealer, NULL));
	for (uint32_t i = 0; i < READERS; i++)
		CHECK_OK(pthread_join(readers[i], NULL));
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	CHECK(size.head_sums_built > 0 && size.head_sums_used > 0);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), 2 * GROUPS);
	source_free(&sources[0]);
	source_free(&sources[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_see_whole_acknowledged_groups_with_their_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

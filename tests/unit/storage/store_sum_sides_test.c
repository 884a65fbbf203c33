/*
 * Both sides of a diff in one pass: each says what a sum of it alone says, whatever the ranges have
 * in common, what is sealed, rolled up, open or damaged of them; and they share one bound of
 * memory.
 */

#include <errno.h>

#include "core/rng.h"
#include "storage/keys.h"
#include "storage/kv.h"
#include "storage/sealed.h"
#include "tests/unit/storage/store_damage.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/store_sides.h"

#define WINDOW (60 * SECOND)
#define HOUR   (3 * WINDOW) /* of these tests */
#define DAY    (2 * HOUR)
#define END    (3 * DAY + 2 * WINDOW)
#define STACKS 300

static struct clock_virtual now;

static struct store *open_rolling(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW;
	options.roll_ns[0] = HOUR;
	options.roll_ns[1] = DAY;
	options.head_sums_min = 1;
	options.stretch_bytes = 500; /* what is open takes several visits to the gate */
	options.clock = &now.clock;
	clock_virtual_init(&now, 0);
	clock_virtual_advance(&now, 3 * DAY);
	return store_fixture_open_with(options);
}

static void put(struct source *source, const char *service, const char *version, uint32_t number)
{
	struct series series = {
		.type = source_string(source, "cpu"),
		.unit = source_string(source, "nanoseconds"),
		.period = 7 + number % 2,
	};
	struct label labels[] = {
		{ source_string(source, "service"), source_string(source, service) },
		{ source_string(source, "instance"), source_string(source, version) },
		{ source_string(source, "version"), source_string(source, version) },
	};
	char function[16];
	uint32_t id;
	snprintf(function, sizeof(function), "f%u", number % STACKS);
	CHECK_OK(dict_series(source->dict, &series, labels, COUNT_OF(labels), &id));
	CHECK_OK(batch_add_row(source->batch, id, source_stack(source, function), 1 + number % 5));
	CHECK_OK(batch_add_coverage(source->batch, id, 9 * SECOND));
	CHECK_OK(batch_add_loss(source->batch, id, LOSS_RING_FULL, 2));
}

/* Two services in quarters of the windows of a range. */
static void append(struct store *store, uint64_t from_ns, uint64_t to_ns)
{
	struct source source = source_new(store, 1);
	for (uint64_t at = from_ns; at < to_ns; at += WINDOW / 4) {
		source_begin(&source, at, WINDOW / 4);
		for (uint32_t i = 0; i < 12; i++)
			put(&source, i % 2 ? "cart" : "shop", i / 2 % 2 ? "1" : "2",
			        (uint32_t)(at / WINDOW) * 5 + i * 7);
		CHECK_OK(batch_add_loss(source.batch, SERIES_NONE, LOSS_RING_FULL, 1));
		assert_int_equal(source_append(&source, store, at / (WINDOW / 4) + 1), WIRE_OK);
	}
	source_free(&source);
}

/* Three days, the first two rolled up, then sealed windows, then open batches. */
static void fill(const char *path)
{
	struct store *store = open_rolling(path);
	append(store, 0, 3 * DAY);
	CHECK_OK(store_seal(store, 2 * DAY + 2 * HOUR - WINDOW));
	CHECK_OK(store_roll(store, 2 * DAY));
	store_free(store);
}

/* A side, with what is freed when it was asked. */
struct side {
	struct store_match *match;
	uint32_t *groups;
};

static struct store_sum_options side_of(struct store *store, const char *selector,
        const char *label, uint64_t from_ns, uint64_t to_ns, struct side *side)
{
	side->match = store_fixture_find(store, selector, from_ns, to_ns);
	side->groups = calloc((size_t)side->match->series_count + 1, sizeof(*side->groups));
	assert_non_null(side->groups);
	for (uint32_t i = 0; label && i < side->match->parts_count; i++) {
		const struct store_match_part *part = &side->match->parts[i];
		for (uint32_t j = 0; j < part->series_count; j++)
			side->groups[part->first + j] = dict_label_value(part->dict,
			        part->series[j],
			        dict_find_string(part->dict, label, strlen(label)));
	}
	return (struct store_sum_options){
		.from_ns = from_ns,
		.to_ns = to_ns,
		.match = side->match,
		.groups = side->groups,
		.memory_max = 64 << 20,
	};
}

static void sides_fini(struct side sides[STORE_SUM_SIDES_MAX])
{
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++) {
		store_match_free(sides[i].match);
		free(sides[i].groups);
	}
}

static void sides_say_what_each_says_alone(void **state)
{
	static const char *const selectors[] = { "cpu", "cpu{service=\"cart\"}",
		"cpu{version=\"1\"}", "cpu{service=\"shop\",version=\"2\"}",
		"cpu{service=\"nobody\"}" };
	static const char *const labels[] = { NULL, "version", "service" };
	struct rng rng;
	TEST_DIR(dir);
	fill(dir.path);
	AUTO(store) store = open_rolling(dir.path);
	append(store, 3 * DAY, 3 * DAY + WINDOW);
	rng_init(&rng, 1);
	for (int i = 0; i < 300; i++) {
		struct store_sum_options options[STORE_SUM_SIDES_MAX];
		struct side sides[STORE_SUM_SIDES_MAX];
		/* Groups mean the same on both sides of a question. */
		const char *label = labels[rng_below(&rng, COUNT_OF(labels))];
		bool is_one_range = rng_below(&rng, 3) == 0;
		uint64_t unit = rng_below(&rng, 2) ? WINDOW : SECOND;
		/* There are sums of the last windows, then something that is in none. */
		if (i == 100)
			store_sum_heads(store);
		if (i == 200)
			append(store, 3 * DAY + WINDOW, 3 * DAY + 2 * WINDOW);
		for (uint32_t s = 0; s < STORE_SUM_SIDES_MAX; s++) {
			uint64_t from_ns = rng_below(&rng, END / unit) * unit;
			uint64_t to_ns = from_ns + rng_below(&rng, DAY / unit) * unit;
			const char *selector = selectors[rng_below(&rng, COUNT_OF(selectors))];
			if (s > 0 && is_one_range) {
				from_ns = options[0].from_ns;
				to_ns = options[0].to_ns;
			}
			options[s] = side_of(store, selector, label, from_ns, to_ns, &sides[s]);
		}
		store_sides_check(store, options);
		sides_fini(sides);
	}
	/* Of all ways to read it. */
	struct store_size size;
	struct store_sum sum = store_fixture_sum(store, "cpu", 0, END);
	CHECK_OK(store_size(store, &size));
	CHECK(size.head_sums_used > 0);
	assert_int_equal(sum.completeness.resolution_coarsest_ns, DAY);
	assert_int_equal(sum.completeness.resolution_finest_ns, 0);
	store_sum_fini(&sum);
}

static void damage_is_named_on_the_side_that_has_it(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	assert_int_equal(store_damage(dir.path, KV_SUMS_DAY, KEYS_BLOCK_SUMS, false), 2);
	AUTO(store) store = open_rolling(dir.path);
	struct store_sum_options options[STORE_SUM_SIDES_MAX];
	struct store_sum sums[STORE_SUM_SIDES_MAX];
	struct side sides[STORE_SUM_SIDES_MAX];
	options[0] = side_of(store, "cpu{service=\"cart\"}", NULL, 0, DAY, &sides[0]);
	options[1] = side_of(store, "cpu{service=\"shop\"}", NULL, 0, 2 * DAY, &sides[1]);
	store_sides_sum(store, options, sums);
	uint32_t bad = sums[0].completeness.corrupt > 0 ? 0 : 1;
	assert_int_equal(sums[bad].completeness.corrupt, bad ? 2 : 1);
	assert_int_equal(sums[bad].completeness.corrupt_replaced, bad ? 2 : 1);
	assert_int_equal(sums[bad].completeness.unreadable_count, bad ? 2 : 1);
	assert_string_equal(sums[bad].completeness.unreadable[0].service, bad ? "shop" : "cart");
	assert_int_equal(sums[!bad].completeness.corrupt, 0);
	assert_int_equal(sums[!bad].completeness.unreadable_count, 0);
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++)
		store_sum_fini(&sums[i]);
	/* Known by now, it is passed over, and named all the same. */
	store_sides_check(store, options);
	options[1].match = options[0].match;
	options[1].groups = options[0].groups;
	store_sides_check(store, options);
	sides_fini(sides);
}

/* The least memory that the sides do with. */
static uint64_t memory_for(struct store *store, struct store_sum_options *options, uint32_t count)
{
	struct store_sum sums[STORE_SUM_SIDES_MAX] = { 0 };
	uint64_t enough = 1 << 10;
	for (int r = -E2BIG; r == -E2BIG; enough += r < 0 ? 256 : 0) {
		options[0].memory_max = options[count - 1].memory_max = enough;
		r = store_sum_sides(store, options, count, sums);
		CHECK(r == 0 || r == -E2BIG);
	}
	for (uint32_t i = 0; i < count; i++)
		store_sum_fini(&sums[i]);
	return enough;
}

/* A side that needs nearly all of it is answered beside one that needs little, whichever is first.
 */
static void a_lopsided_question_needs_what_its_sides_need(void **state)
{
	static const char small[] = "cpu{service=\"cart\",version=\"1\"}";
	TEST_DIR(dir);
	fill(dir.path);
	AUTO(store) store = open_rolling(dir.path);
	for (uint32_t large = 0; large < STORE_SUM_SIDES_MAX; large++) {
		struct store_sum_options options[STORE_SUM_SIDES_MAX];
		struct side sides[STORE_SUM_SIDES_MAX];
		options[large] = side_of(store, "cpu", "version", 0, 3 * DAY, &sides[large]);
		options[!large] = side_of(
		        store, small, NULL, 3 * DAY - WINDOW, 3 * DAY, &sides[!large]);
		uint64_t of_large = memory_for(store, &options[large], 1);
		uint64_t of_small = memory_for(store, &options[!large], 1);
		uint64_t of_both = memory_for(store, options, 2);
		print_message(
		        "%lu %lu %lu\n", of_large, memory_for(store, &options[!large], 1), of_both);
		CHECK(of_large > 2 * of_small && of_both <= of_large + of_small);
		sides_fini(sides);
	}
}

static void sides_share_one_bound_and_end_together(void **state)
{
	TEST_DIR(dir);
	fill(dir.path);
	AUTO(store) store = open_rolling(dir.path);
	struct store_sum_options options[STORE_SUM_SIDES_MAX];
	struct store_sum sums[STORE_SUM_SIDES_MAX] = { 0 };
	struct side sides[STORE_SUM_SIDES_MAX];
	bool cancelled = false;
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++)
		options[i] = side_of(store, "cpu", "version", 0, 3 * DAY, &sides[i]);
	(void)memory_for(store, options, 1);
	CHECK(store_sum_sides(store, options, 2, sums) == -E2BIG);
	CHECK(!sums[0].parts && !sums[1].parts);
	options[0].memory_max = 64 << 20;
	options[0].cancelled = &cancelled;
	CHECK_OK(store_sum_sides(store, options, 2, sums));
	for (uint32_t i = 0; i < STORE_SUM_SIDES_MAX; i++)
		store_sum_fini(&sums[i]);
	cancelled = true;
	CHECK(store_sum_sides(store, options, 2, sums) == -ECANCELED);
	sides_fini(sides);
}

/* A window of detail with its blocks, read twice: the second time they are gone from the store. */
static void what_is_held_is_not_read_again(void **state)
{
	for (int holds = 0; holds < 2; holds++) {
		TEST_DIR(dir);
		fill(dir.path);
		AUTO(store) store = open_rolling(dir.path);
		AUTO_SEALED sealed;
		struct detail_chunk chunk;
		struct detail_heads heads;
		struct sum_block block;
		CHECK_OK(sealed_init(&sealed, store));
		sealed.holds = holds;
		store_read_lock(store);
		CHECK_OK(sealed_open(&sealed, &store->windows.entries[0]));
		CHECK_OK(sealed_get_members(&sealed, 0, 0, &chunk, &heads));
		CHECK_OK(sealed_get_sums(&sealed, 0, &block));
		CHECK_OK(sealed_open_detail(&sealed, 0, 0, &block, &chunk));
		AUTO(kv_batch) batch = kv_batch_new();
		static const struct {
			enum keys_block_part part;
			enum kv_family family;
		} gone[] = { { KEYS_BLOCK_MEMBERS, KV_SUMS }, { KEYS_BLOCK_SUMS, KV_SUMS },
			{ KEYS_BLOCK_DETAIL, KV_DETAIL } };
		for (size_t i = 0; i < COUNT_OF(gone); i++) {
			uint8_t from[KEYS_BLOCK_BYTES], to[KEYS_BLOCK_BYTES + 1] = { 0 };
			keys_put_block(
			        (struct key_block){ .window = sealed.key, .part = gone[i].part },
			        from);
			memcpy(to, from, sizeof(from));
			kv_delete_range(store->kv, batch, gone[i].family,
			        (struct kv_bytes){ from, sizeof(from) },
			        (struct kv_bytes){ to, sizeof(to) });
		}
		CHECK_OK(kv_write(store->kv, batch, KV_SYNC));
		int expected = holds ? 0 : -EBADMSG;
		CHECK(sealed_get_members(&sealed, 0, 0, &chunk, &heads) == expected);
		CHECK(sealed_open_detail(&sealed, 0, 0, &block, &chunk) == expected);
		CHECK(sealed_get_sums(&sealed, 0, &block) == expected);
		/* Another one is another one. */
		CHECK_OK(sealed_get_members(&sealed, 1, 0, &chunk, &heads));
		CHECK(sealed_get_members(&sealed, 0, 0, &chunk, &heads) == -EBADMSG);
		store_read_unlock(store);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sides_say_what_each_says_alone),
		cmocka_unit_test(damage_is_named_on_the_side_that_has_it),
		cmocka_unit_test(a_lopsided_question_needs_what_its_sides_need),
		cmocka_unit_test(sides_share_one_bound_and_end_together),
		cmocka_unit_test(what_is_held_is_not_read_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

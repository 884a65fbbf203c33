/*
 * Who wants something forgotten wants it nowhere. What was batches when it came is sealed, written
 * again without some of its rows, or deleted, and stays in the log and in files that have others
 * as well until enough has come together to be merged. So all values that a store has before
 * are looked for afterwards, as bytes, in all of its files: only those that are still a key's may
 * be there.
 */

#include "core/rng.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"
#include "tests/unit/storage/traces.h"

#define WINDOW_NS (600 * SECOND)
#define FIRST_NS  (UINT64_C(1700002800) * SECOND) /* a whole hour */
#define ROWS      40
#define RUN       5

struct place {
	struct test_dir dir;
	struct store *store;
	struct rng rng;
	struct source zoo, shop;
	uint64_t zebra, cart; /* sums of what they were given */
};

static void place_open(struct place *place)
{
	struct store_options options = store_fixture_options(place->dir.path);
	options.window_ns = WINDOW_NS;
	place->store = store_fixture_open_with(options);
	place->zoo = source_new(place->store, 1);
	place->shop = source_new(place->store, 2);
	place->zoo.stream.tenant = "zoo";
}

static void place_close(struct place *place)
{
	source_free(&place->zoo);
	source_free(&place->shop);
	store_free(place->store);
}

static void place_put_rows(
        struct place *place, struct source *source, const char *service, uint64_t *sum)
{
	uint32_t series = source_series(source, service, "i", 1);
	for (uint32_t i = 0; i < ROWS; i++) {
		char function[32];
		uint64_t value = 1 + rng_below(&place->rng, 1 << 20);
		snprintf(function, sizeof(function), "f%u", i);
		CHECK_OK(batch_add_row(
		        source->batch, series, source_stack(source, function), value));
		*sum += value;
	}
}

/* Zebra alone, cart alone, and both in one batch. */
static void place_put(struct place *place, uint32_t window, uint32_t second)
{
	uint64_t start_ns = FIRST_NS + window * WINDOW_NS + second * SECOND;
	source_begin(&place->zoo, start_ns, SECOND);
	place_put_rows(place, &place->zoo, "zebra", &place->zebra);
	assert_int_equal(
	        source_append(&place->zoo, place->store, ++place->zoo.stream.seq), WIRE_OK);
	source_begin(&place->shop, start_ns, SECOND);
	place_put_rows(place, &place->shop, "cart", &place->cart);
	assert_int_equal(
	        source_append(&place->shop, place->store, ++place->shop.stream.seq), WIRE_OK);
	source_begin(&place->shop, start_ns + SECOND, SECOND);
	place_put_rows(place, &place->shop, "cart", &place->cart);
	place_put_rows(place, &place->shop, "zebra", &place->zebra);
	assert_int_equal(
	        source_append(&place->shop, place->store, ++place->shop.stream.seq), WIRE_OK);
}

static void place_forget(struct place *place, bool is_later)
{
	struct store_forgotten forgotten;
	struct store_expired expired;
	struct store_forget_options options = { .service = "zebra", .to_ns = UINT64_MAX };
	if (is_later)
		options.run = (struct store_run){ .id = RUN, .hidden_ns = 1, .erase_ns = 2 };
	CHECK_OK(store_forget(place->store, &options, &forgotten));
	assert_int_equal(forgotten.units_mixed, 0);
	CHECK(forgotten.open_rows > 0);
	if (is_later)
		CHECK_OK(store_erase(place->store, RUN, NULL, &expired));
	CHECK_OK(store_settle(place->store));
}

static void check_sums(struct place *place)
{
	assert_int_equal(store_fixture_value(place->store, "{service=\"zebra\"}", 0, UINT64_MAX),
	        place->zebra);
	assert_int_equal(store_fixture_value(place->store, "{service=\"cart\"}", 0, UINT64_MAX),
	        place->cart);
}

/* Eight windows of which seven are sealed and six are an hour; batches in files and in the log. */
static void place_fill(struct place *place)
{
	for (uint32_t window = 0; window < 8; window++)
		place_put(place, window, 10);
	CHECK_OK(store_flush(place->store));
	for (uint32_t window = 0; window < 8; window++)
		place_put(place, window, 20);
}

static void check_forgotten(bool is_later)
{
	struct place place = { .dir = test_dir_new() };
	struct traces before = { 0 };
	struct traces after = { 0 };
	const char *folder = place.dir.path;
	rng_init(&place.rng, 11);
	place_open(&place);
	place_fill(&place);
	traces_add(&before, folder);
	CHECK_OK(store_seal(place.store, FIRST_NS + 7 * WINDOW_NS));
	CHECK_OK(store_roll(place.store, FIRST_NS + 7 * WINDOW_NS));
	traces_add(&after, folder);
	/* As it is without anybody asking: what was sealed is in files of batches that are open. */
	CHECK(traces_left(&before, &after, KV_BATCH, folder) > 7);
	traces_fini(&after);
	after = (struct traces){ 0 };
	traces_add(&before, folder);
	check_sums(&place);

	place_forget(&place, is_later);
	place.zebra = 0;
	check_sums(&place);
	traces_add(&after, folder);
	place_close(&place);
	CHECK(before.count > after.count && after.count > 0);
	for (size_t i = 0; i < COUNT_OF(traces_families); i++)
		assert_int_equal(traces_left(&before, &after, traces_families[i], folder), 0);
	/* And it would be found. */
	const struct traces nothing = { 0 };
	for (size_t i = 0; i < COUNT_OF(traces_families) - 1; i++)
		CHECK(traces_left(&after, &nothing, traces_families[i], folder) > 0);

	place_open(&place);
	check_sums(&place);
	CHECK_OK(store_seal(place.store, UINT64_MAX));
	check_sums(&place);
	place_close(&place);
	traces_fini(&before);
	traces_fini(&after);
	test_dir_remove(&place.dir);
}

static void what_is_forgotten_at_once_is_in_no_file(void **state)
{
	check_forgotten(false);
}

static void what_is_forgotten_later_is_in_no_file_when_its_run_is_erased(void **state)
{
	check_forgotten(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_forgotten_at_once_is_in_no_file),
		cmocka_unit_test(what_is_forgotten_later_is_in_no_file_when_its_run_is_erased),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

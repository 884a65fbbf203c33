/*
 * What is hidden is in no answer, what is undone is back, what is erased is gone from the disk:
 * over a store of a few windows and services. Random programs of it are in store_oracle_test.c.
 */

#include <errno.h>

#include "core/clock.h"
#include "core/rng.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S 60
#define WINDOWS  4
#define PERIOD   UINT64_C(10)
/* A dozen tables of the database, small as they are, have properties of a page each. */
#define TABLES_BYTES (UINT64_C(12) * 4096)

static const char *const services[] = { "cart", "shop", "mail" };

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	return store_fixture_open_with(options);
}

/* One second of every service and two instances each; in samples, so much each. */
static uint64_t value_of(uint32_t seq, uint32_t service)
{
	return 1 + seq * 7 + service;
}

static void append(struct store *store, struct source *source, uint32_t seq)
{
	source_begin(source, (seq - 1) * 10 * SECOND, 10 * SECOND);
	for (uint32_t i = 0; i < COUNT_OF(services); i++) {
		for (uint32_t instance = 0; instance < 2; instance++) {
			char name[16];
			snprintf(name, sizeof(name), "i%u", instance);
			uint32_t series = source_series(source, services[i], name, PERIOD);
			CHECK_OK(batch_add_row(source->batch, series,
			        source_stack(source, i ? "sell" : "work"),
			        value_of(seq, i) + instance));
			CHECK_OK(batch_add_coverage(source->batch, series, 9 * SECOND));
		}
	}
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

static uint64_t fill(struct store *store, struct source *source)
{
	uint32_t seq = 1;
	for (; seq <= WINDOWS * WINDOW_S / 10; seq++)
		append(store, source, seq);
	return seq;
}

/* What a service should have in the windows [from, to), both instances. */
static uint64_t expected(uint32_t service, uint32_t from, uint32_t to)
{
	uint64_t value = 0;
	for (uint32_t seq = from * WINDOW_S / 10 + 1; seq <= to * WINDOW_S / 10; seq++)
		value += 2 * value_of(seq, service) + 1;
	return value * PERIOD;
}

static uint64_t total(struct store *store, const char *service)
{
	char text[64];
	snprintf(text, sizeof(text), "cpu{service=\"%s\"}", service);
	return store_fixture_total(store, text, 0, UINT64_MAX);
}

static void expect_totals(struct store *store, uint64_t cart, uint64_t shop, uint64_t mail)
{
	assert_int_equal(total(store, "cart"), cart);
	assert_int_equal(total(store, "shop"), shop);
	assert_int_equal(total(store, "mail"), mail);
}

/* The unit of a service in the window that begins then. */
struct found {
	const char *service;
	uint32_t window;
	struct store_inventory_unit unit;
	uint32_t count;
	uint64_t bytes;
	uint64_t rows;
	uint32_t series;
};

static int find_unit(void *owner, const struct store_inventory_unit *unit)
{
	struct found *found = owner;
	found->bytes += unit->bytes_detail + unit->bytes_sums + unit->bytes_window;
	found->rows += unit->is_open ? 0 : unit->rows;
	found->series += unit->series_count;
	if (found->service && strcmp(unit->service, found->service) != 0)
		return 0;
	if (found->service && unit->window.from_ns != found->window * WINDOW_S * SECOND)
		return 0;
	found->unit = *unit;
	found->count++;
	return 0;
}

static struct found find(struct store *store, const char *service, uint32_t window)
{
	struct found found = { .service = service, .window = window };
	CHECK_OK(store_inventory(store, (struct store_inventory_options){ .wants_series = true },
	        find_unit, &found));
	return found;
}

static struct store_expire_item item_of(
        struct store *store, const char *service, uint32_t window, uint32_t parts)
{
	struct found found = find(store, service, window);
	assert_int_equal(found.count, 1);
	return (struct store_expire_item){ found.unit.window, found.unit.unit, parts };
}

static struct store_run run_of(uint64_t id)
{
	return (struct store_run){ .id = id, .hidden_ns = 5, .erase_ns = 6, .note = "a test" };
}

static void inventory_tells_of_every_unit_and_its_bytes(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	uint32_t seq = (uint32_t)fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	append(store, &source, seq);

	struct found all = find(store, NULL, 0);
	assert_int_equal(all.count, WINDOWS * COUNT_OF(services));
	assert_int_equal(all.rows, WINDOWS * 6 * 2 * COUNT_OF(services));
	assert_int_equal(all.series, WINDOWS * COUNT_OF(services) * 2);
	struct found one = find(store, "shop", 1);
	assert_int_equal(one.count, 1);
	assert_int_equal(one.unit.rows, 12);
	assert_int_equal(one.unit.batches, 6);
	assert_int_equal(one.unit.first_ns, WINDOW_S * SECOND);
	assert_int_equal(one.unit.last_ns, (2 * WINDOW_S - 10) * SECOND);
	assert_int_equal(one.unit.parts, STORE_PART_ALL);
	assert_int_equal(one.unit.hidden, 0);
	CHECK(one.unit.bytes_detail > 50 && one.unit.bytes_sums > 100);

	struct store_inventory_bytes bytes;
	CHECK_OK(store_inventory_totals(store, &bytes));
	assert_int_equal(bytes.detail + bytes.sums[0] + bytes.windows, all.bytes);
	CHECK(bytes.disk > all.bytes && bytes.dict > 0);

	/* The open batch: each service has its share of rows. */
	struct found open = { .service = "mail", .window = WINDOWS };
	CHECK_OK(store_inventory(
	        store, (struct store_inventory_options){ .wants_open = true }, find_unit, &open));
	assert_int_equal(open.count, 1);
	assert_true(open.unit.is_open);
	assert_int_equal(open.unit.rows, 2);
	CHECK(open.unit.bytes_detail > 20);
	source_free(&source);
}

static void what_is_hidden_is_in_no_answer_until_it_is_undone(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired, back;
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	uint64_t cart = expected(0, 0, WINDOWS), shop = expected(1, 0, WINDOWS);
	uint64_t mail = expected(2, 0, WINDOWS);
	expect_totals(store, cart, shop, mail);

	struct store_run run = run_of(9);
	struct store_expire_item items[] = { item_of(store, "cart", 1, STORE_PART_SUMS),
		item_of(store, "shop", 2, STORE_PART_ALL),
		{ { 0, 0, 3 * WINDOW_S * SECOND, 4 * WINDOW_S * SECOND }, STORE_UNIT_NONE,
		        STORE_PART_ALL },
		{ { 0, 7, 0, WINDOW_S * SECOND }, 0, STORE_PART_ALL } };
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	assert_int_equal(expired.windows[0], 1);
	assert_int_equal(expired.units[0], 2 + COUNT_OF(services));
	assert_int_equal(expired.rows, 12 * (2 + COUNT_OF(services)));
	assert_int_equal(expired.missing, 1);
	for (int restart = 0; restart < 2; restart++) {
		expect_totals(store, expected(0, 0, 1) + expected(0, 2, 3), expected(1, 0, 2),
		        expected(2, 0, 3));
		assert_int_equal(store_hide(store, &run, items, 1, &expired), -EEXIST);
		assert_int_equal(find(store, "cart", 1).unit.hidden, STORE_PART_ALL);
		source_free(&source);
		store_free(store);
		store = open_store(dir.path);
		source = source_new(store, 1);
	}
	/* Twice is once. */
	run.id = 10;
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	assert_int_equal(expired.units[0], 0);
	assert_int_equal(expired.missing, COUNT_OF(items));
	assert_int_equal(store_undo(store, 10, &back), -ENOENT);

	CHECK_OK(store_undo(store, 9, &back));
	assert_int_equal(back.units[0], 2 + COUNT_OF(services));
	assert_int_equal(back.missing, 0);
	expect_totals(store, cart, shop, mail);
	assert_int_equal(store_undo(store, 9, &back), -ENOENT);
	source_free(&source);
	store_free(store);
}

/* What stays hidden of a run that hid cart of window 1, shop of 2, and all of 3. */
static void expect_rest(struct store *store, uint64_t cart, uint64_t shop, uint64_t mail)
{
	expect_totals(store, cart, shop, mail);
	CHECK_OK(store_roll(store, 3600 * SECOND));
	expect_totals(store, cart, shop, mail);
}

static int count_item(void *owner, const struct store_expire_item *item)
{
	CHECK(item->parts != 0 && item->window.level == 0);
	(*(uint32_t *)owner)++;
	return 0;
}

static void some_of_a_run_comes_back_and_the_rest_stays_hidden(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired, back, left;
	uint32_t count = 0;
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	struct store_run run = run_of(9);
	struct store_expire_item cart = item_of(store, "cart", 1, STORE_PART_ALL);
	struct store_expire_item mail = item_of(store, "mail", 3, STORE_PART_ALL);
	struct store_expire_item shop = item_of(store, "shop", 3, STORE_PART_ALL);
	struct store_expire_item some[] = { mail, item_of(store, "mail", 0, STORE_PART_ALL), cart };
	struct store_expire_item items[] = { cart, item_of(store, "shop", 2, STORE_PART_ALL),
		{ mail.window, STORE_UNIT_NONE, STORE_PART_ALL } };
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	/* The rollup that is made meanwhile lacks all of it. */
	expect_rest(
	        store, expected(0, 0, 1) + expected(0, 2, 3), expected(1, 0, 2), expected(2, 0, 3));

	/* What the run does not hide is passed over, and asking changes nothing. */
	struct store_undo_options options = { some, COUNT_OF(some), true };
	CHECK_OK(store_undo_some(store, 9, options, &back, &left));
	assert_int_equal(back.units[0], 2);
	assert_int_equal(left.units[0], COUNT_OF(services));
	assert_int_equal(back.rows + left.rows, expired.rows);
	expect_rest(
	        store, expected(0, 0, 1) + expected(0, 2, 3), expected(1, 0, 2), expected(2, 0, 3));
	options.is_dry_run = false;
	CHECK_OK(store_undo_some(
	        store, 9, (struct store_undo_options){ some + 1, 1, false }, &back, &left));
	assert_int_equal(back.units[0], 0);
	assert_int_equal(left.units[0], 2 + COUNT_OF(services));

	CHECK_OK(store_undo_some(store, 9, options, &back, &left));
	assert_int_equal(back.units[0], 2);
	assert_int_equal(back.missing, 0);
	assert_int_equal(back.bytes_detail + back.bytes_sums + left.bytes_detail + left.bytes_sums,
	        expired.bytes_detail + expired.bytes_sums);
	for (int restart = 0; restart < 2; restart++) {
		expect_rest(store, expected(0, 0, 3), expected(1, 0, 2), expected(2, 0, 4));
		CHECK_OK(store_run_items(store, 9, count_item, &count));
		assert_int_equal(count, (restart + 1) * COUNT_OF(services));
		source_free(&source);
		store_free(store);
		store = open_store(dir.path);
		source = source_new(store, 1);
	}

	/* All that is left is the whole of it; what was brought back is not erased with it. */
	options = (struct store_undo_options){ &shop, 1, false };
	CHECK_OK(store_undo_some(store, 9, options, &back, &left));
	CHECK_OK(store_erase(store, 9, NULL, &expired));
	assert_int_equal(expired.units[0], left.units[0]);
	expect_rest(
	        store, expected(0, 0, 3), expected(1, 0, 2) + expected(1, 3, 4), expected(2, 0, 4));
	assert_int_equal(store_undo_some(store, 9, options, &back, &left), -ENOENT);

	run = run_of(10);
	CHECK_OK(store_hide(store, &run, &shop, 1, &expired));
	CHECK_OK(store_undo_some(store, 10, options, &back, &left));
	assert_int_equal(left.units[0], 0);
	assert_int_equal(store_run_items(store, 10, count_item, &count), -ENOENT);
	source_free(&source);
	store_free(store);
}

static void detail_goes_and_sums_stay(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	struct store_run run = run_of(1);
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	struct store_expire_item items[] = { { { 0, 0, 0, WINDOW_S * SECOND }, STORE_UNIT_NONE,
		                                     STORE_PART_DETAIL },
		item_of(store, "mail", 1, STORE_PART_DETAIL) };
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	assert_int_equal(expired.units[0], 4);
	assert_int_equal(expired.windows[0], 0);
	assert_int_equal(expired.bytes_sums, 0);
	for (int i = 0; i < 2; i++) {
		expect_totals(store, expected(0, 0, WINDOWS), expected(1, 0, WINDOWS),
		        expected(2, 0, WINDOWS));
		if (i == 0)
			CHECK_OK(store_erase(store, 1, NULL, &expired));
	}
	assert_int_equal(expired.units[0], 4);
	assert_int_equal(find(store, "mail", 1).unit.parts, STORE_PART_SUMS);
	assert_int_equal(find(store, "mail", 1).unit.bytes_detail, 0);
	assert_int_equal(find(store, "cart", 1).unit.parts, STORE_PART_ALL);
	source_free(&source);
}

static int count_runs(void *owner, const struct store_run_state *state)
{
	(*(uint32_t *)owner)++;
	assert_string_equal(state->run.note, "a test");
	CHECK(state->hidden.units[0] > 0);
	return 0;
}

static void what_is_erased_stays_gone_and_its_number_is_not_given_anew(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired, back;
	struct store_run run = run_of(1);
	uint32_t runs = 0;
	uint32_t seq = (uint32_t)fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	struct store_expire_item items[] = { { { 0, 0, 0, WINDOW_S * SECOND }, STORE_UNIT_NONE,
		                                     STORE_PART_ALL },
		item_of(store, "cart", 1, STORE_PART_ALL) };
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	/* What comes late for a hidden window is another window, and not hidden. */
	source_begin(&source, 0, 10 * SECOND);
	CHECK_OK(batch_add_row(source.batch, source_series(&source, "cart", "late", PERIOD),
	        source_stack(&source, "work"), 5));
	assert_int_equal(source_append(&source, store, seq), WIRE_OK);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(store_runs(store, count_runs, &runs));
	assert_int_equal(runs, 1);

	CHECK_OK(store_erase(store, 1, NULL, &expired));
	assert_int_equal(expired.windows[0], 1);
	assert_int_equal(expired.units[0], 1 + COUNT_OF(services));
	assert_int_equal(store_erase(store, 1, NULL, &expired), -ENOENT);
	assert_int_equal(store_undo(store, 1, &back), -ENOENT);
	for (int restart = 0; restart < 2; restart++) {
		expect_totals(store, expected(0, 2, WINDOWS) + 5 * PERIOD, expected(1, 1, WINDOWS),
		        expected(2, 1, WINDOWS));
		source_free(&source);
		store_free(store);
		store = open_store(dir.path);
		source = source_new(store, 1);
	}
	source_free(&source);
	store_free(store);
}

/* Names are most of a store this small, so the bulk is values that do not pack. */
static void fill_bulk(struct store *store, struct source *source)
{
	struct rng rng;
	rng_init(&rng, 7);
	for (uint32_t seq = 1; seq <= WINDOWS * WINDOW_S / 10; seq++) {
		source_begin(source, (seq - 1) * 10 * SECOND, 10 * SECOND);
		for (uint32_t i = 0; i < COUNT_OF(services); i++) {
			uint32_t series = source_series(source, services[i], "a", PERIOD);
			for (uint32_t row = 0; row < 3000; row++) {
				char function[16];
				snprintf(function, sizeof(function), "f%u", row % 500);
				CHECK_OK(batch_add_row(source->batch, series,
				        source_stack(source, function),
				        1 + rng_below(&rng, UINT64_C(1) << 40)));
			}
		}
		assert_int_equal(source_append(source, store, seq), WIRE_OK);
	}
}

static uint64_t disk_bytes(struct store *store)
{
	struct store_size size;
	CHECK_OK(store_size(store, &size));
	return size.bytes_disk;
}

static uint32_t class_of_service(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	uint32_t count = dict_get_series(dict, series)->labels_count;
	const struct label *labels = dict_get_labels(dict, series);
	for (uint32_t i = 0; i < count; i++) {
		const char *value = dict_text(dict, labels[i].value);
		for (uint32_t j = 0; j < COUNT_OF(services); j++)
			if (strcmp(value, services[j]) == 0)
				return j;
	}
	return COUNT_OF(services);
}

static void space_comes_back_without_a_compaction(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	store_set_classify(store, class_of_service, NULL);
	fill_bulk(store, &source);
	CHECK_OK(store_flush(store));
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(store_flush(store));
	struct store_inventory_bytes full, after;
	CHECK_OK(store_inventory_totals(store, &full));
	uint64_t before = disk_bytes(store);

	/* Units of a class, then whole windows. */
	struct store_run run = run_of(1);
	struct store_expire_item items[WINDOWS];
	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = item_of(store, "shop", i, STORE_PART_ALL);
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	uint64_t erased = expired.bytes_detail + expired.bytes_sums;
	CHECK(erased > full.detail / 4);
	CHECK_OK(store_flush(store));
	if (disk_bytes(store) > before - erased * 9 / 10)
		fail_msg("%llu -> %llu, of %llu", (unsigned long long)before,
		        (unsigned long long)disk_bytes(store), (unsigned long long)erased);

	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = (struct store_expire_item){ { 0, 0, i * WINDOW_S * SECOND,
			                                       (i + 1) * WINDOW_S * SECOND },
			STORE_UNIT_NONE, STORE_PART_ALL };
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	assert_int_equal(expired.windows[0], WINDOWS);
	CHECK_OK(store_flush(store));
	CHECK_OK(store_inventory_totals(store, &after));
	assert_int_equal(after.detail + after.sums[0] + after.windows, 0);
	if (disk_bytes(store) > before / 10 + TABLES_BYTES)
		fail_msg("%llu -> %llu", (unsigned long long)before,
		        (unsigned long long)disk_bytes(store));
	expect_totals(store, 0, 0, 0);
	source_free(&source);
}

/* Without classes units share files, and are merged out of them. */
static void units_that_share_a_file_give_back_their_space_as_well(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	struct store_run run = run_of(1);
	fill_bulk(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(store_flush(store));
	uint64_t before = disk_bytes(store);
	uint64_t cart = total(store, "cart"), mail = total(store, "mail");
	struct store_expire_item items[WINDOWS];
	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = item_of(store, "shop", i, STORE_PART_ALL);
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	CHECK_OK(store_flush(store));
	uint64_t erased = expired.bytes_detail + expired.bytes_sums;
	CHECK(disk_bytes(store) < before - erased * 9 / 10 + TABLES_BYTES);
	expect_totals(store, cart, 0, mail);
	source_free(&source);
}

/* Instances of one service, told apart by the last letter of their name. */
static uint32_t class_of_instance(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	uint32_t count = dict_get_series(dict, series)->labels_count;
	const struct label *labels = dict_get_labels(dict, series);
	for (uint32_t i = 0; i < count; i++) {
		const char *value = dict_text(dict, labels[i].value);
		if (strcmp(dict_text(dict, labels[i].name), "instance") == 0)
			return (uint32_t)(value[strlen(value) - 1] - '0');
	}
	return 9;
}

static void a_unit_of_several_classes_becomes_as_many(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_resealed resealed;
	struct store_expired expired;
	struct store_run run = run_of(1);
	struct store_window_name second = { 0, 0, WINDOW_S * SECOND, 2 * WINDOW_S * SECOND };
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	uint64_t cart = expected(0, 0, WINDOWS), shop = expected(1, 0, WINDOWS);
	uint64_t mail = expected(2, 0, WINDOWS);
	struct store_sum before = store_fixture_sum(store, "cpu", 0, UINT64_MAX);

	/* One whose detail is hidden is left as it is. */
	struct store_expire_item hidden = item_of(store, "mail", 1, STORE_PART_DETAIL);
	CHECK_OK(store_hide(store, &run, &hidden, 1, &expired));
	CHECK_OK(store_reseal(store, second, class_of_instance, NULL, &resealed));
	assert_int_equal(resealed.units_parted, 2);
	assert_int_equal(resealed.units_made, 4);
	assert_int_equal(resealed.units_kept, 1);
	CHECK_OK(store_undo(store, 1, &expired));
	CHECK_OK(store_reseal(store, second, class_of_instance, NULL, &resealed));
	assert_int_equal(resealed.units_parted, 1);
	CHECK_OK(store_reseal(store, second, class_of_instance, NULL, &resealed));
	assert_int_equal(resealed.units_parted, 0);

	for (int restart = 0; restart < 2; restart++) {
		struct store_sum after = store_fixture_sum(store, "cpu", 0, UINT64_MAX);
		expect_totals(store, cart, shop, mail);
		assert_memory_equal(
		        &before.completeness, &after.completeness, sizeof(after.completeness));
		store_sum_fini(&after);
		assert_int_equal(find(store, "cart", 1).count, 2);
		assert_int_equal(find(store, NULL, 0).series, WINDOWS * COUNT_OF(services) * 2);
		source_free(&source);
		store_free(store);
		store = open_store(dir.path);
		source = source_new(store, 1);
	}
	store_sum_fini(&before);

	/* A part can be hidden and erased alone, and the detail of the rest is there. */
	struct found one = find(store, "cart", 1);
	struct store_expire_item item = { one.unit.window, one.unit.unit, STORE_PART_ALL };
	assert_int_equal(one.unit.class, 1);
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	assert_int_equal(expired.rows, 6);
	CHECK(total(store, "cart") < cart);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"cart\",instance=\"i1\"}",
	                         WINDOW_S * SECOND, 2 * WINDOW_S * SECOND),
	        0);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", WINDOW_S * SECOND,
	                         (2 * WINDOW_S - 10) * SECOND),
	        shop - expected(1, 0, 1) - expected(1, 2, WINDOWS) -
	                (2 * value_of(12, 1) + 1) * PERIOD);
	second.number = 5;
	assert_int_equal(store_reseal(store, second, class_of_instance, NULL, &resealed), -ENOENT);
	second.level = 1;
	assert_int_equal(store_reseal(store, second, class_of_instance, NULL, &resealed), -EINVAL);
	source_free(&source);
	store_free(store);
}

static struct store_forgotten forget(struct store *store, struct store_forget_options options)
{
	struct store_forgotten forgotten = { 0 };
	if (options.to_ns == 0)
		options.to_ns = UINT64_MAX;
	int r = store_forget(store, &options, &forgotten);
	if (r < 0)
		fail_msg("store_forget returned %d: %s", r, store_error(store));
	return forgotten;
}

static void a_service_goes_from_windows_and_from_open_batches(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	uint32_t seq = (uint32_t)fill(store, &source);
	CHECK_OK(store_seal(store, (WINDOWS - 1) * WINDOW_S * SECOND));
	append(store, &source, seq);
	uint64_t cart = total(store, "cart"), mail = total(store, "mail");

	struct store_forget_options options = {
		.tenant = "", .service = "shop", .is_dry_run = true
	};
	for (int dry = 1; dry >= 0; dry--) {
		options.is_dry_run = dry;
		struct store_forgotten forgotten = forget(store, options);
		assert_int_equal(forgotten.sealed.units[0], WINDOWS - 1);
		assert_int_equal(forgotten.sealed.rows, (WINDOWS - 1) * 12);
		assert_int_equal(forgotten.open_batches, 7);
		assert_int_equal(forgotten.open_rows, 14);
		CHECK(forgotten.open_bytes > 0);
		assert_int_equal(forgotten.units_mixed + forgotten.windows_cut, 0);
		if (dry)
			CHECK(total(store, "shop") > 0);
	}
	for (int restart = 0; restart < 2; restart++) {
		expect_totals(store, cart, 0, mail);
		source_free(&source);
		store_free(store);
		store = open_store(dir.path);
		source = source_new(store, 1);
	}
	/* What comes later is new, and can be sealed with the rest. */
	append(store, &source, seq + 1);
	CHECK_OK(store_seal(store, UINT64_MAX / 2));
	assert_int_equal(total(store, "shop"), (2 * value_of(seq + 1, 1) + 1) * PERIOD);
	source_free(&source);
	store_free(store);
}

static void series_of_a_selector_go_and_come_back_when_it_is_undone(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	AUTO(selector) selector = NULL;
	struct store_expired back;
	char error[128];
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(selector_parse("{instance=\"i1\"}", &selector, error, sizeof(error)));
	uint64_t all = store_fixture_total(store, "cpu", 0, UINT64_MAX);
	uint64_t gone = store_fixture_total(
	        store, "cpu{instance=\"i1\"}", 0, 2 * WINDOW_S * SECOND);

	/* The range cuts the third window, which is left and told of. */
	struct store_forgotten forgotten = forget(
	        store, (struct store_forget_options){ .selector = selector,
	                       .to_ns = (3 * WINDOW_S - 1) * SECOND,
	                       .run = run_of(3) });
	assert_int_equal(forgotten.sealed.units[0], 2 * COUNT_OF(services));
	assert_int_equal(forgotten.units_parted, 2 * COUNT_OF(services));
	assert_int_equal(forgotten.windows_cut, 1);
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX), all - gone);
	CHECK_OK(store_undo(store, 3, &back));
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX), all);

	/* Without detail nothing can be parted: it stays, and that is said. */
	struct store_run run = run_of(4);
	struct store_expire_item item = { { 0, 0, 3 * WINDOW_S * SECOND, 4 * WINDOW_S * SECOND },
		STORE_UNIT_NONE, STORE_PART_DETAIL };
	CHECK_OK(store_hide(store, &run, &item, 1, &back));
	CHECK_OK(store_erase(store, 4, NULL, &back));
	forgotten = forget(store, (struct store_forget_options){
	                                  .selector = selector, .from_ns = 3 * WINDOW_S * SECOND });
	assert_int_equal(forgotten.units_mixed, COUNT_OF(services));
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX), all);

	forgotten = forget(store, (struct store_forget_options){ .tenant = "" });
	assert_int_equal(forgotten.sealed.windows[0], WINDOWS);
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX), 0);
	source_free(&source);
}

/* Of cart everything, of shop no series, of mail nothing. */
static enum store_inventory_need need_by_service(
        void *owner, const struct store_inventory_unit *unit)
{
	(void)owner;
	assert_int_equal(unit->series_count, 0);
	return strcmp(unit->service, "cart") == 0   ? STORE_NEED_SERIES
	       : strcmp(unit->service, "shop") == 0 ? STORE_NEED_UNIT
	                                            : STORE_NEED_NOTHING;
}

struct told {
	uint32_t units, series, cart, shop;
};

static int count_told(void *owner, const struct store_inventory_unit *unit)
{
	struct told *told = owner;
	bool is_cart = strcmp(unit->service, "cart") == 0;
	told->units++;
	told->series += unit->series_count;
	told->cart += is_cart;
	told->shop += strcmp(unit->service, "shop") == 0;
	assert_int_equal(unit->series_count, is_cart ? 2 : 0);
	return 0;
}

struct passed {
	uint64_t done, total;
};

static void note_pass(void *owner, uint64_t windows_done, uint64_t windows_total)
{
	struct passed *passed = owner;
	assert_true(windows_done >= passed->done && windows_done <= windows_total);
	*passed = (struct passed){ windows_done, windows_total };
}

static void a_pass_says_how_far_it_is(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct passed inventory = { 0 }, forget = { 0 };
	struct told told = { 0 };
	struct store_forgotten forgotten;
	struct store_inventory_options options = { .need = need_by_service,
		.pass = { note_pass, &inventory } };
	struct store_forget_options forget_options = { .service = "cart",
		.to_ns = UINT64_MAX,
		.is_dry_run = true,
		.pass = { note_pass, &forget } };
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(store_inventory(store, options, count_told, &told));
	assert_int_equal(inventory.total, WINDOWS);
	assert_int_equal(inventory.done, WINDOWS);
	CHECK_OK(store_forget(store, &forget_options, &forgotten));
	assert_int_equal(forget.done, WINDOWS);
	assert_int_equal(forgotten.units_hidden, 0);

	/* What a run hides is not the deletion's, and is counted. */
	struct store_expired expired;
	struct store_run run = run_of(1);
	struct store_expire_item item = item_of(store, "cart", 1, STORE_PART_ALL);
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	uint64_t units = forgotten.sealed.units[0];
	forget = (struct passed){ 0 };
	CHECK_OK(store_forget(store, &forget_options, &forgotten));
	assert_int_equal(forgotten.units_hidden, 1);
	assert_int_equal(forgotten.sealed.units[0], units - 1);
	source_free(&source);
}

static void what_goes_at_once_goes_before_the_runs_that_hide_it(void **state)
{
	TEST_DIR(dir);
	struct store *store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_forgotten forgotten;
	struct store_expired expired;
	struct store_run later = run_of(7);
	struct store_forget_options options = {
		.service = "cart", .to_ns = UINT64_MAX, .run = later
	};
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	uint64_t shop = store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX);

	/* One run has a unit and all of another window, one the detail of a third. */
	struct store_run run = run_of(1), other = run_of(2);
	struct store_expire_item items[] = { item_of(store, "cart", 1, STORE_PART_ALL),
		{ find(store, "cart", 2).unit.window, STORE_UNIT_NONE, STORE_PART_ALL } };
	struct store_expire_item detail = item_of(store, "cart", 3, STORE_PART_DETAIL);
	uint64_t shop_of_2 = store_fixture_value(
	        store, "cpu{service=\"shop\"}", items[1].window.from_ns, items[1].window.to_ns);
	CHECK_OK(store_hide(store, &run, items, 2, &expired));
	CHECK_OK(store_hide(store, &other, &detail, 1, &expired));

	/* To be undone, it leaves them to those runs. */
	CHECK_OK(store_forget(store, &options, &forgotten));
	assert_int_equal(forgotten.units_hidden, 2);
	assert_int_equal(forgotten.sealed.units[0], WINDOWS - 2);
	CHECK_OK(store_undo(store, later.id, &expired));

	/* At once: all of it, and they have nothing of it to bring back. */
	options.run = (struct store_run){ 0 };
	CHECK_OK(store_forget(store, &options, &forgotten));
	assert_int_equal(forgotten.units_hidden, 0);
	assert_int_equal(forgotten.sealed.units[0], WINDOWS);
	store_free(store);
	store = open_store(dir.path);
	CHECK_OK(store_undo(store, other.id, &expired));
	CHECK_OK(store_undo(store, run.id, &expired));
	assert_int_equal(store_fixture_value(store, "cpu{service=\"cart\"}", 0, UINT64_MAX), 0);
	assert_int_equal(store_fixture_value(store, "cpu{service=\"shop\"}", 0, UINT64_MAX), shop);
	assert_true(shop_of_2 > 0);
	source_free(&source);
	store_free(store);
}

static void inventory_reads_no_more_than_is_needed(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_inventory_options options = { .need = need_by_service };
	struct store_expired expired;
	struct store_run run = run_of(1);
	struct told told = { 0 };
	fill(store, &source);
	CHECK_OK(store_seal(store, WINDOWS * WINDOW_S * SECOND));
	CHECK_OK(store_inventory(store, options, count_told, &told));
	assert_int_equal(told.cart, WINDOWS);
	assert_int_equal(told.shop, WINDOWS);
	assert_int_equal(told.units, 2 * WINDOWS);
	assert_int_equal(told.series, 2 * WINDOWS);

	/* Only what a run hides: a unit of one window, and all of another. */
	struct store_expire_item items[] = { item_of(store, "shop", 1, STORE_PART_DETAIL),
		{ find(store, "cart", 2).unit.window, STORE_UNIT_NONE, STORE_PART_ALL } };
	options.hidden_alone = true;
	told = (struct told){ 0 };
	CHECK_OK(store_inventory(store, options, count_told, &told));
	assert_int_equal(told.units, 0);
	CHECK_OK(store_hide(store, &run, items, COUNT_OF(items), &expired));
	CHECK_OK(store_inventory(store, options, count_told, &told));
	assert_int_equal(told.shop, 2);
	assert_int_equal(told.cart, 1);
	assert_int_equal(told.units, 3);
	source_free(&source);
}

#define HOUR_S 3600

static struct store_expire_item window_item(uint32_t level, uint64_t from_s, uint64_t to_s)
{
	return (struct store_expire_item){ { level, 0, from_s * SECOND, to_s * SECOND },
		STORE_UNIT_NONE, STORE_PART_ALL };
}

/* The unit of a service in the rollup of an hour. */
static struct store_expire_item rollup_item(struct store *store, const char *service)
{
	struct found found = { .service = service, .window = 0 };
	struct store_inventory_options options = { .wants_series = true };
	CHECK_OK(store_inventory(store, options, find_unit, &found));
	/* Levels come one after the other: what was found last is of the highest. */
	assert_int_equal(found.unit.window.level, 1);
	return (struct store_expire_item){ found.unit.window, found.unit.unit, STORE_PART_ALL };
}

static void rollups_answer_for_what_expired_and_expire_themselves(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	struct store_run run = run_of(1);
	struct store_expire_item items[WINDOWS];
	uint64_t cart = expected(0, 0, WINDOWS), shop = expected(1, 0, WINDOWS);
	uint64_t mail = expected(2, 0, WINDOWS);
	fill(store, &source);
	CHECK_OK(store_seal(store, HOUR_S * SECOND));
	assert_false(find(store, "shop", 1).unit.is_rolled_up);
	CHECK_OK(store_roll(store, HOUR_S * SECOND));
	assert_true(find(store, "shop", 1).unit.is_rolled_up);

	for (uint32_t i = 0; i < WINDOWS; i++)
		items[i] = window_item(0, i * WINDOW_S, (i + 1) * WINDOW_S);
	CHECK_OK(store_hide(store, &run, items, WINDOWS, &expired));
	assert_int_equal(expired.windows[0], WINDOWS);
	expect_totals(store, cart, shop, mail);
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	CHECK_OK(store_roll(store, HOUR_S * SECOND));
	expect_totals(store, cart, shop, mail);

	items[0] = rollup_item(store, "cart");
	CHECK_OK(store_hide(store, &run, items, 1, &expired));
	assert_int_equal(expired.units[1], 1);
	expect_totals(store, 0, shop, mail);
	CHECK_OK(store_undo(store, 1, &expired));
	expect_totals(store, cart, shop, mail);
	CHECK_OK(store_hide(store, &run, items, 1, &expired));
	CHECK_OK(store_erase(store, 1, NULL, &expired));
	CHECK_OK(store_roll(store, HOUR_S * SECOND));
	expect_totals(store, 0, shop, mail);

	struct store_forgotten forgotten = forget(
	        store, (struct store_forget_options){ .tenant = "", .service = "shop" });
	assert_int_equal(forgotten.sealed.units[1], 1);
	expect_totals(store, 0, 0, mail);
	source_free(&source);
}

static void what_was_hidden_when_it_was_rolled_up_comes_back_all_the_same(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct source source = source_new(store, 1);
	struct store_expired expired;
	struct store_run run = run_of(1);
	uint64_t cart = expected(0, 0, WINDOWS), shop = expected(1, 0, WINDOWS);
	uint64_t mail = expected(2, 0, WINDOWS);
	fill(store, &source);
	CHECK_OK(store_seal(store, HOUR_S * SECOND));
	struct store_expire_item items[] = { item_of(store, "shop", 1, STORE_PART_ALL),
		window_item(0, 2 * WINDOW_S, 3 * WINDOW_S) };
	CHECK_OK(store_hide(store, &run, items, 2, &expired));
	for (int rolls = 0; rolls < 2; rolls++) {
		expect_totals(store, expected(0, 0, 2) + expected(0, 3, 4),
		        expected(1, 0, 1) + expected(1, 3, 4),
		        expected(2, 0, 2) + expected(2, 3, 4));
		CHECK_OK(store_roll(store, HOUR_S * SECOND));
	}
	CHECK_OK(store_undo(store, 1, &expired));
	assert_int_equal(expired.missing, 0);
	for (int rolls = 0; rolls < 2; rolls++) {
		expect_totals(store, cart, shop, mail);
		CHECK_OK(store_roll(store, HOUR_S * SECOND));
	}

	/* Deleted on request, an instance goes from rollups by their being made anew. */
	AUTO(selector) selector = NULL;
	char error[128];
	CHECK_OK(selector_parse("{instance=\"i1\"}", &selector, error, sizeof(error)));
	uint64_t gone = store_fixture_total(store, "cpu{instance=\"i1\"}", 0, UINT64_MAX);
	struct store_forgotten forgotten = forget(
	        store, (struct store_forget_options){ .selector = selector });
	assert_int_equal(forgotten.units_mixed, 0);
	CHECK(forgotten.rollups_made > 0 && gone > 0);
	for (int rolls = 0; rolls < 2; rolls++) {
		assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX),
		        cart + shop + mail - gone);
		CHECK_OK(store_roll(store, HOUR_S * SECOND));
	}
	/* What is left of a window is all that the rollup has of it: a cut is exact. */
	assert_int_equal(store_fixture_total(store, "cpu{service=\"cart\"}", WINDOW_S * SECOND,
	                         2 * WINDOW_S * SECOND),
	        (expected(0, 1, 2) - 6 * PERIOD) / 2);
	source_free(&source);
}

static void what_cannot_be_named_is_refused(void **state)
{
	TEST_DIR(dir);
	AUTO(store) store = open_store(dir.path);
	struct store_expired expired;
	struct store_run run = run_of(1);
	struct store_expire_item item = { { 3, 0, 0, SECOND }, 0, STORE_PART_ALL };
	assert_int_equal(store_hide(store, &run, &item, 1, &expired), -EINVAL);
	item.window.level = 0;
	item.parts = 0;
	assert_int_equal(store_hide(store, &run, &item, 1, &expired), -EINVAL);
	item.parts = STORE_PART_ALL;
	run.id = 0;
	assert_int_equal(store_hide(store, &run, &item, 1, &expired), -EINVAL);
	run.id = 1;
	CHECK_OK(store_hide(store, &run, &item, 1, &expired));
	assert_int_equal(expired.missing, 1);
	assert_int_equal(store_erase(store, 1, NULL, &expired), -ENOENT);
	struct store_forget_options options = { .to_ns = 1 };
	struct store_forgotten forgotten;
	assert_int_equal(store_forget(store, &options, &forgotten), -EINVAL);
	options = (struct store_forget_options){ .tenant = "" };
	assert_int_equal(store_forget(store, &options, &forgotten), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inventory_tells_of_every_unit_and_its_bytes),
		cmocka_unit_test(inventory_reads_no_more_than_is_needed),
		cmocka_unit_test(a_pass_says_how_far_it_is),
		cmocka_unit_test(what_goes_at_once_goes_before_the_runs_that_hide_it),
		cmocka_unit_test(what_is_hidden_is_in_no_answer_until_it_is_undone),
		cmocka_unit_test(some_of_a_run_comes_back_and_the_rest_stays_hidden),
		cmocka_unit_test(detail_goes_and_sums_stay),
		cmocka_unit_test(what_is_erased_stays_gone_and_its_number_is_not_given_anew),
		cmocka_unit_test(space_comes_back_without_a_compaction),
		cmocka_unit_test(units_that_share_a_file_give_back_their_space_as_well),
		cmocka_unit_test(a_unit_of_several_classes_becomes_as_many),
		cmocka_unit_test(a_service_goes_from_windows_and_from_open_batches),
		cmocka_unit_test(series_of_a_selector_go_and_come_back_when_it_is_undone),
		cmocka_unit_test(rollups_answer_for_what_expired_and_expire_themselves),
		cmocka_unit_test(what_was_hidden_when_it_was_rolled_up_comes_back_all_the_same),
		cmocka_unit_test(what_cannot_be_named_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Batches that come for a window while it is being sealed: after its batches were collected, before
 * the record is written that makes the window count and deletes them. They stay open, are answered
 * from, and become a window of their own with the next seal.
 *
 * The moment is found without a second thread: when the seal has asked for the class of a series it
 * has begun to collect, and when it then asks for the time it writes down when it sealed.
 */

#include "storage/store_expire.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define WINDOW_S  60
#define FIRST_S   600 /* where the window begins */
#define LATE_MANY 150 /* more than there is room for at first */

/* Appends one sample, of a value that says which it is. */
struct late {
	struct clock_virtual clock; /* first: the store has a pointer to it */
	struct store *store;
	struct source source;
	const uint64_t *starts_s;
	uint32_t count;
	uint64_t seq;
	bool is_collecting;
	bool has_come;
};

static uint32_t late_append(struct late *late, uint64_t start_s, uint64_t seq)
{
	struct source *source = &late->source;
	source_begin(source, start_s * SECOND, SECOND);
	CHECK_OK(batch_add_row(source->batch, source_series(source, "cart", "i", 1),
	        source_stack(source, "main"), seq));
	return source_append(source, late->store, seq);
}

static uint32_t late_classify(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	struct late *late = owner;
	late->is_collecting = late->count > 0 && !late->has_come;
	return 0;
}

static uint64_t late_unix_ns(struct clock *clock)
{
	struct late *late = (struct late *)clock;
	if (late->is_collecting) {
		late->is_collecting = false;
		late->has_come = true;
		for (uint32_t i = 0; i < late->count; i++)
			assert_int_equal(
			        late_append(late, late->starts_s[i], ++late->seq), WIRE_OK);
	}
	return late->clock.now_unix_ns;
}

static void late_open(struct late *late, const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	options.clock = &late->clock.clock;
	clock_virtual_init(&late->clock, 100000 * SECOND);
	late->clock.clock.unix_ns = late_unix_ns;
	late->store = store_fixture_open_with(options);
	store_set_classify(late->store, late_classify, late);
	late->source = source_new(late->store, 1);
}

static void late_close(struct late *late)
{
	source_free(&late->source);
	store_free(late->store);
}

static int count_window(void *owner, const struct store_inventory_unit *unit)
{
	*(uint32_t *)owner += unit->window.from_ns == FIRST_S * SECOND;
	return 0;
}

static uint32_t late_windows(struct late *late)
{
	uint32_t count = 0;
	CHECK_OK(store_inventory(
	        late->store, (struct store_inventory_options){ 0 }, count_window, &count));
	return count;
}

static int never(void *owner, const struct store_finding *finding)
{
	fail_msg("%s %s: %s", finding->family, finding->key, finding->reason);
	return 0;
}

static void verify(const char *path)
{
	struct store_verify_options options = { .path = path, .found = never };
	struct store_verify_summary summary;
	char error[512] = "";
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	assert_int_equal(summary.damaged, 0);
}

/* Seals what there is at :10, :20 and :30 while the late ones come; all of it is there, once. */
static void check_late(const uint64_t *starts_s, uint32_t count)
{
	TEST_DIR(dir);
	struct late late = { .starts_s = starts_s, .seq = 3 };
	late_open(&late, dir.path);
	for (uint64_t seq = 1; seq <= 3; seq++)
		assert_int_equal(late_append(&late, FIRST_S + seq * 10, seq), WIRE_OK);
	late.count = count;
	CHECK_OK(store_seal(late.store, (FIRST_S + WINDOW_S) * SECOND));
	CHECK(late.has_come);
	uint64_t all = late.seq * (late.seq + 1) / 2;
	assert_int_equal(late_windows(&late), 1);
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);

	/* Sent again they are known: those of the window, and those that are still open. */
	for (uint64_t seq = 1; seq <= late.seq; seq++)
		assert_int_equal(
		        late_append(&late, seq <= 3 ? FIRST_S + seq * 10 : starts_s[seq - 4], seq),
		        WIRE_DUP);

	/* They are not forgotten with what the process had in memory. */
	late_close(&late);
	late_open(&late, dir.path);
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);
	clock_virtual_advance(&late.clock, 100000 * SECOND);
	CHECK_OK(store_seal(late.store, UINT64_MAX));
	assert_int_equal(store_fixture_value(late.store, "cpu", 0, UINT64_MAX), all);
	late_close(&late);
	verify(dir.path);
}

static void what_comes_before_between_and_behind_what_is_sealed_stays_open(void **state)
{
	const uint64_t starts_s[] = { FIRST_S + 15, FIRST_S + 35, FIRST_S, FIRST_S + 59,
		FIRST_S + 10, FIRST_S + 30 };
	check_late(starts_s, COUNT_OF(starts_s));
}

static void what_comes_for_other_windows_is_left_alone(void **state)
{
	const uint64_t starts_s[] = { FIRST_S - 1, FIRST_S + WINDOW_S, 1, FIRST_S + 7 * WINDOW_S };
	check_late(starts_s, COUNT_OF(starts_s));
}

static void as_many_may_come_as_will(void **state)
{
	uint64_t starts_s[LATE_MANY];
	for (uint32_t i = 0; i < LATE_MANY; i++)
		starts_s[i] = FIRST_S + i * 7 % WINDOW_S;
	check_late(starts_s, COUNT_OF(starts_s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_before_between_and_behind_what_is_sealed_stays_open),
		cmocka_unit_test(what_comes_for_other_windows_is_left_alone),
		cmocka_unit_test(as_many_may_come_as_will),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

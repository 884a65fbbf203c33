/*
 * spool: order, numbers, merges and drops to the sample, restarts, broken files, a disk that fills,
 * and random programs against the one law: what went in is what came out and what is counted.
 */

#include "agent/spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "agent/spool_file.h"
#include "core/log.h"
#include "core/rng.h"
#include "tests/lib/fault.h"
#include "tests/unit/agent/batches.h"

static const struct wire_uuid uuid = { { 1, 2, 3 } };

static struct spool_options options_of(const char *path, uint64_t epoch)
{
	return (struct spool_options){
		.path = path,
		.bytes_max = 1 << 20,
		.uuid = uuid,
		.epoch = epoch,
		.tenant = "acme",
	};
}

static struct spool *open_spool(struct spool_options options)
{
	struct spool *spool = NULL;
	char error[256] = "";

	if (spool_open(options, &spool, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return spool;
}

static void add(
        struct spool *spool, uint64_t interval, const char *service, uint64_t count, uint64_t lost)
{
	AUTO_BATCH made = made_simple(interval, service, count, lost);

	CHECK_OK(spool_add(spool, made.batch));
}

/* Takes one entry, which must hold that many samples and losses. */
static struct spool_entry take_one(struct spool *spool, uint64_t samples, uint64_t lost)
{
	struct spool_entry entry = { 0 };

	assert_int_equal(spool_take(spool, &entry, 1, UINT64_MAX), 1);
	AUTO_BATCH made = made_decode(entry.bytes, entry.count);
	assert_int_equal(entry.samples, samples);
	assert_int_equal(batch_samples(made.batch), samples);
	assert_int_equal(entry.lost, lost);
	assert_int_equal(batch_lost(made.batch), lost);
	assert_memory_equal(&entry.uuid, &uuid, sizeof(uuid));
	return entry;
}

static uint32_t files_in(const char *path, const char *suffix)
{
	DIR *folder = opendir(path);
	struct dirent *file;
	uint32_t count = 0;

	assert_non_null(folder);
	while ((file = readdir(folder))) {
		size_t length = strlen(file->d_name);

		count += length > strlen(suffix) &&
		         !strcmp(file->d_name + length - strlen(suffix), suffix);
	}
	closedir(folder);
	return count;
}

static void run_in_memory_and_on_disk(void (*check)(const char *path))
{
	TEST_DIR(dir);
	char path[300];

	check(NULL);
	snprintf(path, sizeof(path), "%s/spool", dir.path);
	check(path);
}

static void check_order(const char *path)
{
	AUTO(spool) spool = open_spool(options_of(path, 77));

	for (uint64_t i = 1; i <= 5; i++)
		add(spool, i, "cart", i, 0);
	for (uint64_t i = 1; i <= 5; i++) {
		struct spool_entry entry = take_one(spool, i, 0);

		assert_int_equal(entry.epoch, 77);
		assert_int_equal(entry.seq, i);
		assert_int_equal(entry.shard, 0);
		/* Until it is done it is the one that is given, under the same id. */
		assert_int_equal(take_one(spool, i, 0).seq, i);
		spool_done(spool, entry.handle);
	}
	struct spool_entry none;
	assert_int_equal(spool_take(spool, &none, 1, UINT64_MAX), 0);
	assert_int_equal(spool_state(spool).bytes, 0);
	assert_int_equal(spool_state(spool).samples, 0);
}

static void the_oldest_leaves_first_under_numbers_without_gaps(void **state)
{
	run_in_memory_and_on_disk(check_order);
}

static void check_bounded_take(const char *path)
{
	AUTO(spool) spool = open_spool(options_of(path, 77));
	struct spool_entry entries[8];

	for (uint64_t i = 1; i <= 6; i++)
		add(spool, i, "cart", i, 0);
	uint64_t one = spool_state(spool).bytes / 6;
	assert_int_equal(spool_take(spool, entries, 8, 1), 1);
	/* What was sent and is not done goes alone. */
	assert_int_equal(spool_take(spool, entries, 8, UINT64_MAX), 1);
	spool_done(spool, entries[0].handle);
	assert_int_equal(spool_take(spool, entries, 8, 2 * one + one / 2), 2);
	spool_done(spool, entries[0].handle);
	spool_done(spool, entries[1].handle);
	assert_int_equal(spool_take(spool, entries, 2, UINT64_MAX), 2);
	assert_int_equal(entries[1].seq, 5);
}

static void a_take_is_bounded_by_count_and_bytes(void **state)
{
	run_in_memory_and_on_disk(check_bounded_take);
}

static void check_merge(const char *path)
{
	struct spool_options options = options_of(path, 77);
	options.entries_max = 4;
	AUTO(spool) spool = open_spool(options);

	for (uint64_t i = 1; i <= 8; i++)
		add(spool, i, "cart", i, 1);
	struct spool_state full = spool_state(spool);
	assert_int_equal(full.entries, 4);
	assert_int_equal(full.merged, 4);
	assert_int_equal(full.samples, 36);
	assert_int_equal(full.lost, 8);
	assert_int_equal(full.dropped_samples, 0);

	/* The shortest neighbours are joined first, so all are halves: 1+2, 3+4, 5+6, 7+8. */
	for (uint64_t i = 0; i < 4; i++) {
		struct spool_entry entry = take_one(spool, 4 * i + 3, 2);
		AUTO_BATCH made = made_decode(entry.bytes, entry.count);

		assert_int_equal(made.batch->duration_ns, 20 * NS_PER_S);
		assert_int_equal(made.batch->coverage[0].ns, 20 * NS_PER_S);
		spool_done(spool, entry.handle);
	}
	if (path)
		assert_int_equal(files_in(path, ".batch"), 0);
}

static void a_full_spool_merges_neighbours_and_keeps_the_totals(void **state)
{
	run_in_memory_and_on_disk(check_merge);
}

static void check_frozen(const char *path)
{
	struct spool_options options = options_of(path, 77);
	options.entries_max = 2;
	AUTO(spool) spool = open_spool(options);

	add(spool, 1, "cart", 1, 0);
	struct spool_entry first = take_one(spool, 1, 0);
	autofree uint8_t *bytes = malloc(first.count);
	assert_non_null(bytes);
	memcpy(bytes, first.bytes, first.count);
	for (uint64_t i = 2; i <= 9; i++)
		add(spool, i, "cart", i, 0);
	assert_int_equal(spool_state(spool).entries, 2);

	struct spool_entry again = take_one(spool, 1, 0);
	assert_int_equal(again.seq, first.seq);
	assert_int_equal(again.count, first.count);
	assert_memory_equal(again.bytes, bytes, first.count);
	spool_done(spool, again.handle);
	assert_int_equal(take_one(spool, 44, 0).seq, 2);
}

static void what_was_sent_never_changes(void **state)
{
	run_in_memory_and_on_disk(check_frozen);
}

/* A batch that shares nothing with any other, so that merging does not make it smaller by much. */
static void add_unique(struct spool *spool, uint64_t interval, uint64_t count)
{
	AUTO_BATCH made = made_batch_new(interval);
	char name[64];

	for (uint32_t i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "function-%llu-%u", (unsigned long long)interval, i);
		made_row(&made, "cart", name, count);
	}
	CHECK_OK(batch_settle(made.batch));
	CHECK_OK(spool_add(spool, made.batch));
}

static void check_drop(const char *path)
{
	struct spool_options options = options_of(path, 77);
	options.bytes_max = 10000;
	options.entry_bytes_max = 3000; /* no merge of two fits */
	AUTO(spool) spool = open_spool(options);

	for (uint64_t i = 1; i <= 20; i++) {
		add_unique(spool, i, i);
		assert_true(spool_state(spool).bytes <= options.bytes_max);
	}
	struct spool_state full = spool_state(spool);
	assert_true(full.dropped_samples > 0);
	assert_int_equal(full.samples + full.lost, 100 * 210);
	assert_int_equal(full.lost, full.dropped_samples);

	/* The dropped are one small entry, first, and say why. */
	struct spool_entry losses = take_one(spool, 0, full.dropped_samples);
	AUTO_BATCH made = made_decode(losses.bytes, losses.count);
	assert_int_equal(made_lost(&made, LOSS_SPOOL_FULL), full.dropped_samples);
	assert_int_equal(made.batch->rows_count, 0);
	assert_true(losses.count < 100);
	spool_done(spool, losses.handle);

	/* What is left is the newest, whole. */
	struct spool_entry entry;
	uint64_t samples = 0;
	while (spool_take(spool, &entry, 1, UINT64_MAX) == 1) {
		samples += entry.samples;
		assert_int_equal(entry.lost, 0);
		spool_done(spool, entry.handle);
	}
	assert_int_equal(samples, 100 * 210 - full.dropped_samples);
}

static void what_cannot_be_merged_is_dropped_and_counted(void **state)
{
	run_in_memory_and_on_disk(check_drop);
}

static void check_reject(const char *path)
{
	AUTO(spool) spool = open_spool(options_of(path, 77));

	add(spool, 1, "cart", 10, 3);
	add(spool, 2, "cart", 20, 0);
	spool_reject(spool, take_one(spool, 10, 3).handle, LOSS_REJECTED);
	assert_int_equal(spool_state(spool).lost, 13);
	spool_done(spool, take_one(spool, 20, 0).handle);

	struct spool_entry losses = take_one(spool, 0, 13);
	AUTO_BATCH made = made_decode(losses.bytes, losses.count);
	assert_int_equal(losses.seq, 3);
	assert_int_equal(made_lost(&made, LOSS_REJECTED), 10);
	assert_int_equal(made_lost(&made, LOSS_RING_FULL), 3);
	spool_done(spool, losses.handle);
	spool_done(spool, losses.handle); /* An unknown handle is no reason to fail. */
	assert_int_equal(spool_state(spool).entries, 0);
}

static void what_is_refused_for_ever_becomes_a_loss(void **state)
{
	run_in_memory_and_on_disk(check_reject);
}

static void check_shards(const char *path)
{
	AUTO(spool) spool = open_spool(options_of(path, 77));
	AUTO_BATCH made = made_batch_new(1);
	struct spool_entry entries[16];
	uint64_t samples = 0;
	uint64_t lost = 0;

	made_row(&made, "cart", "main", 5);
	made_row(&made, "basket", "main", 6);
	made_row(&made, "queue", "main", 7);
	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, 9));
	CHECK_OK(batch_settle(made.batch));
	CHECK_OK(spool_add(spool, made.batch));
	assert_int_equal(spool_state(spool).entries, 1);
	CHECK_OK(spool_fit(spool, 256, UINT32_MAX));
	CHECK_OK(spool_add(spool, made.batch));
	assert_int_equal(spool_state(spool).samples, 36);

	int count = spool_take(spool, entries, COUNT_OF(entries), UINT64_MAX);
	assert_int_equal(count, 8); /* three services and nobody, twice */
	for (int i = 0; i < count; i++) {
		AUTO_BATCH part = made_decode(entries[i].bytes, entries[i].count);

		samples += entries[i].samples;
		lost += entries[i].lost;
		if (made_samples(&part, "queue") > 0)
			assert_int_equal(entries[i].shard, wire_shard("acme", "queue", 256));
		assert_true(entries[i].seq == 1 || entries[i].seq == 2);
	}
	assert_int_equal(samples, 36);
	assert_int_equal(lost, 18);
	/* Sent ones keep their shard, whatever the map says now. */
	CHECK_OK(spool_fit(spool, 1, UINT32_MAX));
	assert_int_equal(spool_take(spool, entries, COUNT_OF(entries), UINT64_MAX), 8);
}

static void each_shard_has_its_own_entries_and_numbers(void **state)
{
	run_in_memory_and_on_disk(check_shards);
}

static void one_waiting_shard_does_not_hold_up_the_others(void **state)
{
	AUTO(spool) spool = open_spool(options_of(NULL, 77));
	struct spool_entry entries[16];

	CHECK_OK(spool_fit(spool, 256, UINT32_MAX));
	add(spool, 1, "cart", 5, 0);
	assert_int_equal(spool_take(spool, entries, COUNT_OF(entries), UINT64_MAX), 1);
	add(spool, 2, "cart", 6, 0);
	add(spool, 2, "basket", 7, 0);
	assert_int_equal(spool_take(spool, entries, COUNT_OF(entries), UINT64_MAX), 2);
	assert_int_equal(entries[0].samples, 5);
	assert_int_equal(entries[1].samples, 7);
}

static void a_restart_keeps_everything_under_the_same_ids(void **state)
{
	TEST_DIR(dir);
	struct spool_entry entries[4];
	struct spool *spool = open_spool(options_of(dir.path, 77));

	for (uint64_t i = 1; i <= 4; i++)
		add(spool, i, "cart", i, 1);
	spool_done(spool, take_one(spool, 1, 1).handle);
	(void)take_one(spool, 2, 1);
	spool_free(spool);

	spool = open_spool(options_of(dir.path, 78));
	assert_int_equal(spool_state(spool).entries, 3);
	assert_int_equal(spool_state(spool).samples, 9);
	assert_int_equal(spool_state(spool).lost, 3);
	add(spool, 5, "cart", 5, 1);
	struct spool_entry sent = take_one(spool, 2, 1);
	assert_int_equal(sent.epoch, 77);
	assert_int_equal(sent.seq, 2);
	spool_done(spool, sent.handle);
	assert_int_equal(spool_take(spool, entries, 4, UINT64_MAX), 3);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(entries[i].epoch, 78);
		assert_int_equal(entries[i].seq, i + 1);
		assert_int_equal(entries[i].samples, i + 3);
	}
	spool_free(spool);
}

static void the_spool_of_another_uuid_is_adopted(void **state)
{
	TEST_DIR(dir);
	struct spool_options options = options_of(dir.path, 70);
	options.uuid = (struct wire_uuid){ { 9 } };
	struct spool *spool = open_spool(options);
	struct spool_entry entry;

	add(spool, 1, "cart", 1, 0);
	assert_int_equal(spool_take(spool, &entry, 1, UINT64_MAX), 1);
	add(spool, 2, "cart", 2, 0);
	spool_free(spool);

	spool = open_spool(options_of(dir.path, 77));
	/* What was sent stays whose it was, or it would count twice. */
	assert_int_equal(spool_take(spool, &entry, 1, UINT64_MAX), 1);
	assert_int_equal(entry.uuid.bytes[0], 9);
	assert_int_equal(entry.epoch, 70);
	spool_done(spool, entry.handle);
	assert_int_equal(take_one(spool, 2, 0).seq, 1);
	spool_free(spool);
}

static void two_agents_cannot_share_a_folder(void **state)
{
	TEST_DIR(dir);
	AUTO(spool) spool = open_spool(options_of(dir.path, 77));
	struct spool *other = NULL;
	char error[256];

	assert_int_equal(
	        spool_open(options_of(dir.path, 78), &other, error, sizeof(error)), -EBUSY);
	assert_non_null(strstr(error, dir.path));
	assert_null(other);
	assert_int_equal(spool_state(spool).entries, 0);
}

static void a_folder_that_cannot_be_is_refused_with_a_reason(void **state)
{
	TEST_DIR(dir);
	struct spool *spool = NULL;
	char path[300];
	char error[256] = "";

	snprintf(path, sizeof(path), "%s/missing/spool", dir.path);
	assert_int_equal(spool_open(options_of(path, 77), &spool, error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, path));
	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, "x", 1);
	assert_int_equal(spool_open(options_of(path, 77), &spool, error, sizeof(error)), -ENOTDIR);
	assert_null(spool);
}

/* The only batch file of the folder. */
static void path_of_batch(const char *folder, char *ret_path, size_t bytes)
{
	DIR *open = opendir(folder);
	struct dirent *file;

	assert_non_null(open);
	ret_path[0] = 0;
	while ((file = readdir(open))) {
		if (strstr(file->d_name, SPOOL_FILE_SUFFIX))
			snprintf(ret_path, bytes, "%s/%s", folder, file->d_name);
	}
	closedir(open);
	assert_true(ret_path[0]);
}

static void a_broken_file_is_set_aside_and_counted(void **state)
{
	static const struct {
		size_t cut;  /* bytes kept */
		size_t flip; /* this byte is changed, if there is one */
	} harms[] = { { 0, SIZE_MAX }, { 10, SIZE_MAX }, { 60, SIZE_MAX }, { SIZE_MAX, 0 },
		{ SIZE_MAX, 12 }, { SIZE_MAX, 40 }, { SIZE_MAX, 70 } };

	for (size_t i = 0; i < COUNT_OF(harms); i++) {
		for (int sent = 0; sent < 2; sent++) {
			TEST_DIR(dir);
			char path[600];
			size_t count;
			struct spool *spool = open_spool(options_of(dir.path, 77));

			add(spool, 1, "cart", 10, 3);
			if (sent)
				(void)take_one(spool, 10, 3);
			spool_free(spool);
			path_of_batch(dir.path, path, sizeof(path));
			autofree char *bytes = test_file_read(path, &count);
			if (harms[i].flip < count)
				bytes[harms[i].flip] ^= 0x10;
			test_file_write(path, bytes, harms[i].cut < count ? harms[i].cut : count);

			spool = open_spool(options_of(dir.path, 78));
			assert_int_equal(spool_state(spool).broken_samples, 13);
			assert_int_equal(files_in(dir.path, ".broken"), 1);
			struct spool_entry losses = take_one(spool, 0, 13);
			AUTO_BATCH made = made_decode(losses.bytes, losses.count);
			assert_int_equal(made_lost(&made, LOSS_MALFORMED), 13);
			spool_done(spool, losses.handle);
			spool_free(spool);

			/* Counted once, not at every start. */
			spool = open_spool(options_of(dir.path, 79));
			assert_int_equal(spool_state(spool).entries, 0);
			spool_free(spool);
		}
	}
}

static void a_file_that_breaks_while_it_waits_is_counted_too(void **state)
{
	TEST_DIR(dir);
	char path[600];
	AUTO(spool) spool = open_spool(options_of(dir.path, 77));
	struct spool_entry entry;

	add(spool, 1, "cart", 10, 3);
	path_of_batch(dir.path, path, sizeof(path));
	test_file_write(path, "", 0);
	assert_int_equal(spool_take(spool, &entry, 1, UINT64_MAX), 1);
	assert_int_equal(entry.samples, 0);
	assert_int_equal(entry.lost, 13);
	assert_int_equal(files_in(dir.path, ".broken"), 1);
}

static void strangers_in_the_folder_are_left_alone(void **state)
{
	static const char *const names[] = { "README", "new-1.batch", "sent-x.batch",
		"new-0000000000000001-0000000000000001-1-0-0000000000000000-0-5.batch.bak" };
	TEST_DIR(dir);
	char path[600];

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir.path, names[i]);
		test_file_write(path, "hello", 5);
	}
	struct spool *spool = open_spool(options_of(dir.path, 77));
	assert_int_equal(spool_state(spool).entries, 0);
	spool_free(spool);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir.path, names[i]);
		CHECK_OK(access(path, F_OK));
	}
}

static void the_leftovers_of_a_crash_do_not_count(void **state)
{
	TEST_DIR(dir);
	char kept[600];
	char path[600];
	size_t count;
	struct spool_options options = options_of(dir.path, 77);

	/* A merge that crashed before it removed what it merged. */
	struct spool *spool = open_spool(options);
	add(spool, 1, "cart", 10, 0);
	path_of_batch(dir.path, kept, sizeof(kept));
	autofree char *first = test_file_read(kept, &count);
	options.entries_max = 1;
	spool_free(spool);
	spool = open_spool(options);
	add(spool, 2, "cart", 20, 0);
	assert_int_equal(spool_state(spool).merged, 1);
	spool_free(spool);
	test_file_write(kept, first, count);
	snprintf(path, sizeof(path), "%s/entry.tmp", dir.path);
	test_file_write(path, "half", 4);

	spool = open_spool(options);
	assert_int_equal(spool_state(spool).samples, 30);
	assert_int_equal(spool_state(spool).entries, 1);
	assert_int_equal(access(path, F_OK), -1);
	spool_free(spool);

	/* A refusal that crashed before it removed what was refused. */
	spool = open_spool(options_of(dir.path, 78));
	struct spool_entry entry = take_one(spool, 30, 0);
	path_of_batch(dir.path, kept, sizeof(kept));
	autofree char *refused = test_file_read(kept, &count);
	spool_reject(spool, entry.handle, LOSS_REJECTED);
	spool_free(spool);
	test_file_write(kept, refused, count);
	spool = open_spool(options_of(dir.path, 79));
	assert_int_equal(spool_state(spool).samples, 30);
	assert_int_equal(spool_state(spool).lost, 0);
	spool_free(spool);
}

static void a_full_disk_keeps_entries_in_memory(void **state)
{
	static const enum fault faults[] = { FAULT_WRITE, FAULT_SYNC };

	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		for (uint32_t nth = 0; nth < 2; nth++) {
			TEST_DIR(dir);
			struct spool *spool = open_spool(options_of(dir.path, 77));

			fault_arm(faults[i], nth, ENOSPC);
			add(spool, 1, "cart", 10, 0);
			bool failed = fault_disarm();
			assert_int_equal(spool_state(spool).memory_bytes > 0, failed);
			assert_int_equal(files_in(dir.path, ".batch"), failed ? 0 : 1);
			add(spool, 2, "cart", 20, 0);
			/* With room again, what had to wait is written as well. */
			assert_int_equal(spool_state(spool).memory_bytes, 0);
			assert_int_equal(files_in(dir.path, ".batch"), 2);
			spool_free(spool);

			spool = open_spool(options_of(dir.path, 78));
			assert_int_equal(spool_state(spool).samples, 30);
			spool_free(spool);
		}
	}
}

static void memory_has_a_bound_of_its_own_while_the_disk_is_full(void **state)
{
	TEST_DIR(dir);
	struct spool_options options = options_of(dir.path, 77);
	options.memory_bytes_max = 10000;
	options.entry_bytes_max = 3000;
	AUTO(spool) spool = open_spool(options);

	add_unique(spool, 1, 1);
	for (uint64_t i = 2; i <= 20; i++) {
		AUTO_BATCH made = made_batch_new(i);
		char name[64];

		for (uint32_t j = 0; j < 100; j++) {
			snprintf(name, sizeof(name), "function-%llu-%u", (unsigned long long)i, j);
			made_row(&made, "cart", name, 1);
		}
		CHECK_OK(batch_settle(made.batch));
		/* Only the first write of each fails, which is that of the new entry. */
		fault_arm(FAULT_WRITE, 0, ENOSPC);
		CHECK_OK(spool_add(spool, made.batch));
		assert_true(fault_disarm());
		assert_true(spool_state(spool).memory_bytes <= options.memory_bytes_max);
	}
	struct spool_state full = spool_state(spool);
	assert_int_equal(full.samples + full.lost, 2000);
	assert_true(full.dropped_samples > 0);
}

static void a_number_that_the_disk_may_forget_is_not_used(void **state)
{
	TEST_DIR(dir);
	AUTO(spool) spool = open_spool(options_of(dir.path, 77));
	struct spool_entry entry;

	add(spool, 1, "cart", 10, 0);
	fault_arm(FAULT_SYNC, 0, EIO);
	assert_int_equal(spool_take(spool, &entry, 1, UINT64_MAX), -EIO);
	assert_true(fault_disarm());
	assert_int_equal(take_one(spool, 10, 0).seq, 1);
}

static void without_memory_a_batch_is_the_caller_s_to_count(void **state)
{
	uint32_t nth;

	for (nth = 0;; nth++) {
		AUTO(spool) spool = open_spool(options_of(NULL, 77));
		AUTO_BATCH made = made_simple(1, "cart", 10, 1);

		CHECK_OK(spool_fit(spool, 4, UINT32_MAX));
		fault_arm(FAULT_ALLOC, nth, ENOMEM);
		int result = spool_add(spool, made.batch);
		bool failed = fault_disarm();
		struct spool_state now = spool_state(spool);
		if (result == 0)
			assert_int_equal(now.samples + now.lost, 11);
		else
			assert_int_equal(now.samples + now.lost, 0);
		if (result < 0)
			assert_int_equal(result, -ENOMEM);
		if (!failed)
			break;
	}
	assert_true(nth > 5);
}

static void losses_from_elsewhere_travel_like_any_other(void **state)
{
	AUTO(spool) spool = open_spool(options_of(NULL, 77));
	uint64_t lost[LOSS_REASON_MAX + 1] = { 0 };

	CHECK_OK(spool_add_losses(spool, 1, 1, lost));
	assert_int_equal(spool_state(spool).entries, 0);
	lost[LOSS_AGENT_MEMORY] = 4;
	lost[LOSS_SPOOL_FULL] = 5;
	CHECK_OK(spool_add_losses(spool, 1700000000 * NS_PER_S, NS_PER_S, lost));
	struct spool_entry entry = take_one(spool, 0, 9);
	AUTO_BATCH made = made_decode(entry.bytes, entry.count);
	assert_int_equal(made_lost(&made, LOSS_AGENT_MEMORY), 4);
	assert_int_equal(made_lost(&made, LOSS_SPOOL_FULL), 5);
}

static void a_large_batch_becomes_entries_that_fit(void **state)
{
	struct spool_options options = options_of(NULL, 77);
	options.entry_bytes_max = 1000;
	AUTO(spool) spool = open_spool(options);
	struct spool_entry entry;
	uint64_t samples = 0;

	add_unique(spool, 1, 3);
	assert_true(spool_state(spool).entries > 2);
	while (spool_take(spool, &entry, 1, UINT64_MAX) == 1) {
		assert_true(entry.count <= 1000);
		samples += entry.samples;
		spool_done(spool, entry.handle);
	}
	assert_int_equal(samples, 300);
}

/* ---- random programs ---- */

#define MODEL_SHARDS 16
#define MODEL_SEQS   512

struct model {
	uint64_t added; /* samples and losses */
	uint64_t done;
	uint64_t rejected; /* samples that became losses by a refusal */
	uint64_t epoch;
	uint64_t seqs[MODEL_SHARDS];
	/* The hash of each entry that was given out, by epoch, shard and seq. */
	struct {
		uint64_t epoch;
		uint64_t seq;
		uint16_t shard;
		uint64_t hash;
	} sent[MODEL_SEQS];
	uint32_t sent_count;
};

static void model_see(struct model *model, const struct spool_entry *entry)
{
	uint64_t hash = hash64_bytes(entry->bytes, entry->count);

	for (uint32_t i = 0; i < model->sent_count; i++) {
		if (model->sent[i].epoch != entry->epoch || model->sent[i].seq != entry->seq ||
		        model->sent[i].shard != entry->shard)
			continue;
		assert_int_equal(model->sent[i].hash, hash);
		return;
	}
	/* New ones have the number that follows. */
	assert_int_equal(entry->epoch, model->epoch);
	assert_int_equal(entry->seq, model->seqs[entry->shard] + 1);
	model->seqs[entry->shard]++;
	if (model->sent_count == MODEL_SEQS)
		memmove(&model->sent[0], &model->sent[1],
		        sizeof(model->sent[0]) * --model->sent_count);
	model->sent[model->sent_count].epoch = entry->epoch;
	model->sent[model->sent_count].seq = entry->seq;
	model->sent[model->sent_count].shard = entry->shard;
	model->sent[model->sent_count++].hash = hash;
}

static void random_add(struct spool *spool, struct model *model, struct rng *rng, uint64_t interval)
{
	static const char *const services[] = { "cart", "basket", "queue", "" };
	AUTO_BATCH made = made_batch_new(interval);
	uint64_t rows = 1 + rng_below(rng, 30);
	char function[32];

	for (uint64_t i = 0; i < rows; i++) {
		snprintf(function, sizeof(function), "function-%u",
		        (unsigned int)rng_below(rng, 200));
		made_row(&made, services[rng_below(rng, COUNT_OF(services))], function,
		        1 + rng_below(rng, 9));
	}
	CHECK_OK(batch_add_loss(made.batch, SERIES_NONE, LOSS_RING_FULL, rng_below(rng, 3)));
	CHECK_OK(batch_settle(made.batch));
	model->added += batch_samples(made.batch) + batch_lost(made.batch);
	CHECK_OK(spool_add(spool, made.batch));
}

static void random_take(struct spool *spool, struct model *model, struct rng *rng)
{
	struct spool_entry entries[4];
	uint64_t handles[4];
	uint64_t totals[4];
	int count = spool_take(
	        spool, entries, 1 + (uint32_t)rng_below(rng, 4), rng_below(rng, 4000));

	assert_true(count >= 0);
	for (int i = 0; i < count; i++) {
		model_see(model, &entries[i]);
		handles[i] = entries[i].handle;
		totals[i] = entries[i].samples + entries[i].lost;
	}
	for (int i = 0; i < count; i++) {
		switch (rng_below(rng, 4)) {
		case 0: /* the reply was lost */
			break;
		case 1:
			spool_reject(spool, handles[i], LOSS_REJECTED);
			break;
		default:
			spool_done(spool, handles[i]);
			model->done += totals[i];
		}
	}
}

/* That the programs came where it matters. */
static uint64_t merges_seen;
static uint64_t drops_seen;

static void random_program(const char *path, uint64_t seed)
{
	struct spool_options options = options_of(path, 1);
	struct model model = { .epoch = 1 };
	struct rng rng;
	struct spool *spool;

	rng_init(&rng, seed);
	options.bytes_max = 2000 + rng_below(&rng, 4000);
	options.entry_bytes_max = (uint32_t)(500 + rng_below(&rng, 2000));
	options.entries_max = (uint32_t)(2 + rng_below(&rng, 20));
	spool = open_spool(options);
	for (uint64_t step = 0; step < 60; step++) {
		uint64_t choice = rng_below(&rng, 20);

		if (choice < 11)
			random_add(spool, &model, &rng, step);
		else if (choice < 17)
			random_take(spool, &model, &rng);
		else if (choice < 18)
			CHECK_OK(spool_fit(spool, 1u << rng_below(&rng, 5), UINT32_MAX));
		else if (path) {
			spool_free(spool);
			options.epoch = ++model.epoch;
			memset(model.seqs, 0, sizeof(model.seqs));
			spool = open_spool(options);
		}
		struct spool_state now = spool_state(spool);
		if (model.added != model.done + now.samples + now.lost)
			fail_msg("seed %llu step %llu: added %llu, done %llu, kept %llu + %llu",
			        (unsigned long long)seed, (unsigned long long)step,
			        (unsigned long long)model.added, (unsigned long long)model.done,
			        (unsigned long long)now.samples, (unsigned long long)now.lost);
		if (path && files_in(path, ".batch") != now.entries)
			fail_msg("seed %llu step %llu: files and entries differ",
			        (unsigned long long)seed, (unsigned long long)step);
	}
	merges_seen += spool_state(spool).merged;
	drops_seen += spool_state(spool).dropped_samples;
	spool_free(spool);
}

static void random_programs_lose_nothing(void **state)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		TEST_DIR(dir);

		random_program(NULL, seed);
		if (seed % 3 == 0)
			random_program(dir.path, seed);
	}
	assert_true(merges_seen > 100);
	assert_true(drops_seen > 100);
}

static void names_are_what_they_were(void **state)
{
	static const char *const names[] = {
		"new-0000000000000001-0000000000000001-1-0-0000000000000000-0-5.batch",
		"sent-0000000000000001-00000000000000ff-256-255-0123456789abcdef-7-"
		"18446744073709551615.batch",
	};
	static const char *const strangers[] = { "", ".batch", "old-1-1-1-0-0-0-5.batch",
		"new-1-1-1-0-0-0-5.batch",
		"new-0000000000000001-0000000000000001-1-0-0000000000000000-0-5.batch ",
		"new-0000000000000002-0000000000000001-1-0-0000000000000000-0-5.batch",
		"new-0000000000000001-0000000000000001-1-1-0000000000000000-0-5.batch",
		"new-0000000000000001-0000000000000001-0-0-0000000000000000-0-5.batch",
		"new-0000000000000001-0000000000000001-1-0-0000000000000001-1-5.batch",
		"sent-0000000000000001-0000000000000001-1-0-0000000000000000-0-5.batch",
		"new-0000000000000001-0000000000000001-5000-0-0000000000000000-0-5.batch" };
	struct spool_file_name name;
	char again[SPOOL_FILE_NAME_BYTES];

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		CHECK_OK(spool_file_parse(names[i], &name));
		spool_file_format(&name, again);
		assert_string_equal(again, names[i]);
	}
	for (size_t i = 0; i < COUNT_OF(strangers); i++)
		assert_int_equal(spool_file_parse(strangers[i], &name), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_oldest_leaves_first_under_numbers_without_gaps),
		cmocka_unit_test(a_take_is_bounded_by_count_and_bytes),
		cmocka_unit_test(a_full_spool_merges_neighbours_and_keeps_the_totals),
		cmocka_unit_test(what_was_sent_never_changes),
		cmocka_unit_test(what_cannot_be_merged_is_dropped_and_counted),
		cmocka_unit_test(what_is_refused_for_ever_becomes_a_loss),
		cmocka_unit_test(each_shard_has_its_own_entries_and_numbers),
		cmocka_unit_test(one_waiting_shard_does_not_hold_up_the_others),
		cmocka_unit_test(a_restart_keeps_everything_under_the_same_ids),
		cmocka_unit_test(the_spool_of_another_uuid_is_adopted),
		cmocka_unit_test(two_agents_cannot_share_a_folder),
		cmocka_unit_test(a_folder_that_cannot_be_is_refused_with_a_reason),
		cmocka_unit_test(a_broken_file_is_set_aside_and_counted),
		cmocka_unit_test(a_file_that_breaks_while_it_waits_is_counted_too),
		cmocka_unit_test(strangers_in_the_folder_are_left_alone),
		cmocka_unit_test(the_leftovers_of_a_crash_do_not_count),
		cmocka_unit_test(a_full_disk_keeps_entries_in_memory),
		cmocka_unit_test(memory_has_a_bound_of_its_own_while_the_disk_is_full),
		cmocka_unit_test(a_number_that_the_disk_may_forget_is_not_used),
		cmocka_unit_test(without_memory_a_batch_is_the_caller_s_to_count),
		cmocka_unit_test(losses_from_elsewhere_travel_like_any_other),
		cmocka_unit_test(a_large_batch_becomes_entries_that_fit),
		cmocka_unit_test(random_programs_lose_nothing),
		cmocka_unit_test(names_are_what_they_were),
	};
	log_setup("spool-test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

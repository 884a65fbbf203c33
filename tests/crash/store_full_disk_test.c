/*
 * A full disk, for real: a store on a small ext4 of its own, mounted from a file in a mount
 * namespace that ends with this process. It is filled until appends are refused, with files of
 * somebody else beside it so that the end comes in the middle of the log, of a flush, of symbols;
 * each time reading must go on exact, refused groups must leave nothing, and once there is room the
 * next append must go through by itself, without an open from outside.
 *
 * PROFLEET_SEED=N fills it in another way. Needs root and a loop device; skips where either is
 * refused.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rng.h"
#include "storage/audit.h"
#include "storage/store_backup.h"
#include "storage/store_expire.h"
#include "tests/unit/storage/store_fixture.h"

#define DISK_BYTES (96u << 20)
#define CYCLES     8
#define ROWS       4000
#define STACKS     3000
#define GROUPS_MAX 20000 /* far more than fits */

extern char **environ;

static struct test_dir folder;
static char mounted[300];

static int run(const char *const arguments[])
{
	pid_t child;
	int status;
	if (posix_spawnp(&child, arguments[0], NULL, NULL, (char *const *)arguments, environ) != 0)
		return -1;
	if (waitpid(child, &status, 0) != child || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

/* NULL, or why there is no small disk here. */
static const char *make_disk(void)
{
	char image[300];
	snprintf(image, sizeof(image), "%s/image", folder.path);
	snprintf(mounted, sizeof(mounted), "%s/disk", folder.path);

	if (geteuid() != 0)
		return "mounting a small file system needs root";
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return "this root may not make a mount namespace";
	int fd = open(image, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, DISK_BYTES) < 0 || close(fd) < 0 || mkdir(mounted, 0700) < 0)
		return "no room for the image of a small file system";
	if (run((const char *[]){ "mkfs.ext4", "-q", "-F", "-m", "0", image, NULL }) != 0)
		return "mkfs.ext4 is missing or failed";
	if (run((const char *[]){ "mount", "-o", "loop", image, mounted, NULL }) != 0)
		return "mount -o loop was refused: there is no loop device";
	return NULL;
}

static void filler_path(char *path, size_t path_bytes)
{
	snprintf(path, path_bytes, "%s/somebody-else", mounted);
}

/* Takes so many bytes of the disk, or all that there are. */
static void fill_disk(uint64_t bytes)
{
	static const char block[65536];
	char path[400];
	filler_path(path, sizeof(path));
	int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	while (bytes > 0) {
		size_t count = bytes < sizeof(block) ? bytes : sizeof(block);
		ssize_t written = write(fd, block, count);
		if (written <= 0)
			break;
		bytes -= (uint64_t)written;
	}
	(void)fsync(fd);
	close(fd);
}

/* The blocks of a file that went are free for others only when ext4's journal has that. */
static void make_room(void)
{
	char path[400];
	filler_path(path, sizeof(path));
	CHECK_OK(unlink(path));
	autoclose int fd = open(mounted, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_OK(syncfs(fd));
}

/* With windows of a few intervals, so that there is always one to seal. */
static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = 2 * SECOND;
	return store_fixture_open_with(options);
}

struct load {
	struct store *store;
	struct source source;
	struct rng rng;
	uint32_t series;
	uint32_t stacks[STACKS];
	uint32_t stacks_count;
	uint64_t seq;    /* acknowledged up to here */
	bool is_pending; /* the batch in source was refused */
	uint64_t pending_samples;
	uint64_t samples;
	char tenant[2]; /* one per cycle, so that its counters begin at 0 */
};

/* An interval that hardly gets smaller by packing, with a few stacks that are new. */
static uint64_t load_interval(struct load *load)
{
	uint64_t samples = 0;
	source_begin(&load->source, (load->seq + 1) * SECOND, SECOND);
	for (int i = 0; i < 5 && load->stacks_count < STACKS; i++) {
		char name[64];
		snprintf(name, sizeof(name), "function%u", load->stacks_count);
		load->stacks[load->stacks_count++] = source_stack(&load->source, name);
	}
	for (uint32_t i = 0; i < ROWS; i++) {
		uint64_t value = 1 + rng_below(&load->rng, 1 << 24);
		uint32_t stack = load->stacks[rng_below(&load->rng, load->stacks_count)];
		CHECK_OK(batch_add_row(load->source.batch, load->series, stack, value));
		samples += value;
	}
	return samples;
}

/* What was refused is sent again unchanged, as an agent does. */
static int load_append(struct load *load)
{
	if (!load->is_pending)
		load->pending_samples = load_interval(load);
	load->is_pending = true;
	struct store_append append = source_section(&load->source, load->seq + 1);
	int r = store_append(load->store, &append, 1);
	if (r == 0) {
		/* A group that was refused may be on the disk after all: then it counts now. */
		CHECK(append.ret_status == WIRE_OK || append.ret_status == WIRE_DUP);
		load->samples += load->pending_samples;
		load->seq++;
		load->is_pending = false;
	}
	return r;
}

static void check_exact(struct load *load)
{
	struct store_counters counters;
	CHECK(store_fixture_value(load->store, "cpu", 0, UINT64_MAX) == load->samples);
	CHECK_OK(store_counters(load->store, load->source.stream.tenant, &counters));
	CHECK(counters.samples == load->samples && counters.batches == load->seq);
}

static int count_backup(void *owner, const struct backup_manifest *manifest, int result)
{
	(void)manifest;
	CHECK_OK(result);
	++*(uint32_t *)owner;
	return 0;
}

/* A backup is there whole or not at all; one that finds no room says so, and is in nobody's way. */
static void back_up(struct load *load, bool has_room)
{
	char backups[400];
	char error[512] = "";
	uint32_t count = 0;
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	snprintf(backups, sizeof(backups), "%s/backups", mounted);
	struct store_backup_options options = { .folder = backups, .name = "one" };
	int r = store_backup_create(load->store, options, &manifest, error, sizeof(error));
	if (r < 0 && (has_room || strlen(error) == 0))
		fail_msg("%d: %s", r, error);
	int listed = store_backup_list(backups, count_backup, &count);
	CHECK(listed == 0 || (listed == -ENOENT && !has_room));
	assert_int_equal(count, r == 0);
	if (r == 0) {
		CHECK(manifest.contents.batches >= load->seq);
		CHECK_OK(store_backup_verify(options, error, sizeof(error)));
		CHECK_OK(store_backup_delete(options, error, sizeof(error)));
	}
}

/* A start on a full disk says so, or succeeds; once there is room everything is there. */
static void open_while_full(struct load *load, const char *path)
{
	struct store_options options = { .path = path, .window_ns = 2 * SECOND };
	char error[512] = "";
	store_free(load->store);
	int r = store_open(options, &load->store, error, sizeof(error));
	if (r < 0 && (r != -ENOSPC || !strstr(error, "no room") || !strstr(error, path)))
		fail_msg("%d: %s", r, error);
	make_room();
	if (r < 0)
		load->store = open_store(path);
	check_exact(load);
}

/* What writes beside appends: other things in each cycle. */
static int write_otherwise(struct load *load, uint32_t cycle, uint32_t groups)
{
	static const uint8_t blob[200000];
	char build_id[32];
	int r = 0;
	if (groups % 3 == cycle % 3 && cycle > 1)
		r = cycle % 2 ? store_flush(load->store) : store_seal(load->store, UINT64_MAX);
	if (r == 0 && cycle % 2 == 0 && cycle > 1)
		r = store_roll(load->store, UINT64_MAX);
	if (r < 0 || cycle % 4 != 3)
		return r;
	snprintf(build_id, sizeof(build_id), "%u-%u", cycle, groups);
	return store_symbols_put(load->store, build_id, blob, sizeof(blob));
}

static void write_until_full(struct load *load, uint32_t cycle)
{
	uint32_t groups = 0;
	uint64_t before = 0;
	int r = 0;

	fill_disk((UINT64_C(30) << 20) + rng_below(&load->rng, UINT64_C(10) << 20));
	for (; r == 0 && groups < GROUPS_MAX; groups++) {
		before = load->seq;
		/* The fuller the disk already is, the sooner. */
		if (groups == 8)
			fill_disk(UINT64_MAX);
		r = write_otherwise(load, cycle, groups);
		if (r == 0)
			r = load_append(load);
	}
	if (r != -ENOSPC)
		fail_msg("cycle %u: %d, %s", cycle, r, store_error(load->store));
	assert_int_equal(load->seq, before);
	print_message("cycle %u after %u groups: %s\n", cycle, groups, store_error(load->store));
}

/*
 * The same refusal again and again, and exact answers in between. But a seal gives back the room of
 * what it could not finish, and appends may go on in it.
 */
static void append_while_full(struct load *load)
{
	bool was_seal = strstr(store_error(load->store), "making a file");
	for (int tries = 0; tries < 3; tries++) {
		struct dict_mark mark = dict_mark(store_dict(load->store));
		int r = load_append(load);
		if (r == 0 && was_seal)
			continue;
		assert_int_equal(r, -ENOSPC);
		CHECK(strlen(store_error(load->store)) > 0);
		struct dict_mark after = dict_mark(store_dict(load->store));
		assert_memory_equal(&mark, &after, sizeof(mark));
		check_exact(load);
	}
}

/* Old data goes, so that the next cycle has room; the sums go with it. */
static void begin_anew(struct load *load, const char *path, uint32_t cycle)
{
	uint64_t batches;
	CHECK_OK(store_delete_range(load->store, 0, UINT64_MAX, &batches));
	CHECK(store_fixture_value(load->store, "cpu", 0, UINT64_MAX) == 0);
	source_free(&load->source);
	store_free(load->store);
	load->store = open_store(path);
	load->source = source_new(load->store, (uint8_t)(cycle + 2));
	load->tenant[0] = (char)('a' + cycle);
	load->source.stream.tenant = load->tenant;
	load->series = source_series(&load->source, "cart", "a", 1);
	load->stacks_count = 0;
	load->seq = 0;
	load->samples = 0;
}

static void a_full_disk_stops_writing_only_and_only_while_it_is_full(void **state)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/data", mounted);
	struct load *load = calloc(1, sizeof(*load));
	load->store = open_store(path);
	load->source = source_new(load->store, 1);
	load->series = source_series(&load->source, "cart", "a", 1);
	const char *seed = getenv("PROFLEET_SEED");
	rng_init(&load->rng, seed ? strtoull(seed, NULL, 10) : 1);

	for (uint32_t cycle = 0; cycle < CYCLES; cycle++) {
		write_until_full(load, cycle);
		append_while_full(load);
		back_up(load, false);
		check_exact(load);

		if (cycle % 2)
			open_while_full(load, path);
		else
			make_room();
		if (load_append(load) < 0)
			fail_msg("cycle %u: %s", cycle, store_error(load->store));
		check_exact(load);
		if (cycle % 2 == 0)
			back_up(load, true);

		begin_anew(load, path, cycle);
	}
	source_free(&load->source);
	store_free(load->store);
	free(load);
}

static uint32_t class_of_series(
        void *owner, const char *tenant, const struct dict *dict, uint32_t series)
{
	return series % 2;
}

/* So many seconds of two series, sealed; what each step of forgetting needs. */
static uint64_t fill_windows(struct store *store, struct source *source)
{
	struct rng rng;
	uint64_t samples = 0;
	rng_init(&rng, 2);
	for (uint64_t seq = 1; seq <= 8; seq++) {
		source_begin(source, seq * SECOND, SECOND);
		for (uint32_t i = 0; i < 2 * ROWS; i++) {
			char name[32];
			snprintf(name, sizeof(name), "function%u", i % STACKS);
			uint64_t value = 1 + rng_below(&rng, 1 << 24);
			samples += value;
			CHECK_OK(batch_add_row(source->batch,
			        source_series(source, "cart", i % 2 ? "a" : "b", 1),
			        source_stack(source, name), value));
		}
		assert_int_equal(source_append(source, store, seq), WIRE_OK);
	}
	CHECK_OK(store_seal(store, UINT64_MAX));
	return samples;
}

enum {
	FORGET_HIDE,
	FORGET_PART,
	FORGET_UNDO,
	FORGET_HIDE_AGAIN,
	FORGET_ERASE,
	FORGET_ADMINISTER,
	FORGET_DELETE,
	FORGET_COLLECT,
	FORGET_STEPS,
};

/* Large enough that no hole that is left in a file has room for it. */
static int administer(struct store *store)
{
	static char text[1 << 20];
	struct audit_document document = { "policies", text, sizeof(text) };
	struct audit_entry entry = { .actor = "me@host", .action = "retention.set" };
	return store_administer(store, &document, 1, &entry, NULL);
}

static int forget_step(struct store *store, int step)
{
	struct store_window_name window = { 0, 0, 2 * SECOND, 4 * SECOND };
	struct store_expire_item item = { window, STORE_UNIT_NONE, STORE_PART_ALL };
	struct store_run run = { .id = 1 };
	struct store_expired expired;
	struct store_resealed resealed;
	uint64_t batches;
	switch (step) {
	case FORGET_ADMINISTER:
		return administer(store);
	case FORGET_DELETE: /* of nothing: what is there is checked */
		return store_delete_range(store, 100 * SECOND, 200 * SECOND, &batches);
	case FORGET_COLLECT:
		return store_collect(store);
	case FORGET_PART:
		return store_reseal(store,
		        (struct store_window_name){ 0, 0, 4 * SECOND, 6 * SECOND }, class_of_series,
		        NULL, &resealed);
	case FORGET_UNDO:
		return store_undo(store, 1, &expired);
	case FORGET_ERASE:
		return store_erase(store, 1, NULL, &expired);
	default:
		return store_hide(store, &run, &item, 1, &expired);
	}
}

/* Each step is refused, or done; answers are those of before or after; with room it is done. */
static void forgetting_waits_for_room_and_loses_nothing(void **state)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/forget", mounted);
	struct store *store = open_store(path);
	struct source source = source_new(store, 1);
	uint64_t all = fill_windows(store, &source);
	uint64_t rest = all - store_fixture_total(store, "cpu", 2 * SECOND, 4 * SECOND);
	CHECK(rest > 0 && rest < all);
	for (int step = 0; step < FORGET_STEPS; step++) {
		bool is_hidden_after = step == FORGET_HIDE || step == FORGET_PART ||
		                       step >= FORGET_HIDE_AGAIN;
		bool was_hidden = step == FORGET_PART || step == FORGET_UNDO ||
		                  step >= FORGET_ERASE;
		fill_disk(UINT64_MAX);
		int r = forget_step(store, step);
		if (r < 0 && r != -ENOSPC)
			fail_msg("step %d: %d, %s", step, r, store_error(store));
		uint64_t found = store_fixture_total(store, "cpu", 0, UINT64_MAX);
		CHECK(found == (was_hidden ? rest : all) ||
		        found == (is_hidden_after ? rest : all));
		print_message("step %d on a full disk: %d\n", step, r);
		make_room();
		if (r < 0) {
			r = forget_step(store, step);
			/* A write that failed may be there after all. */
			CHECK(r == 0 || r == -EEXIST || r == -ENOENT);
		}
		assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX),
		        is_hidden_after ? rest : all);
	}
	source_free(&source);
	store_free(store);
	store = open_store(path);
	assert_int_equal(store_fixture_total(store, "cpu", 0, UINT64_MAX), rest);
	/* Each change that was made is in the audit log, and no other. */
	struct audit_verified verified;
	CHECK_OK(store_audit_verify(store, NULL, &verified));
	CHECK(verified.broken_seq == 0 && verified.records >= 1 && verified.records <= 2);
	store_free(store);
	/* The next test counts on all of the disk. */
	assert_int_equal(run((const char *[]){ "rm", "-r", path, NULL }), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forgetting_waits_for_room_and_loses_nothing),
		cmocka_unit_test(a_full_disk_stops_writing_only_and_only_while_it_is_full),
	};
	folder = test_dir_new();
	const char *missing = make_disk();
	int failed = 0;
	if (missing)
		fprintf(stderr, "skipped: %s\n", missing);
	else
		failed = cmocka_run_group_tests(tests, NULL, NULL);
	if (mounted[0])
		(void)umount2(mounted, MNT_DETACH);
	test_dir_remove(&folder);
	return missing ? TEST_SKIPPED : failed;
}

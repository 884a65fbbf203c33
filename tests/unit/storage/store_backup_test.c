/*
 * Backups: made while others append, each is a whole store of one moment with everything that was
 * acknowledged before; what is damaged in one is named and never restored; names and targets that
 * would harm something are refused; what an ended attempt left is in nobody's way.
 */

#include "storage/store_backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

struct world {
	struct test_dir dir;
	char data[300];
	char backups[300];
	char to[300];
	struct store *store;
	struct source source;
	uint32_t series;
	uint64_t seq;
	char error[512];
};

static struct store *open_store(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = 10 * SECOND;
	return store_fixture_open_with(options);
}

static void world_append(struct world *world, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		char name[32];
		world->seq++;
		snprintf(name, sizeof(name), "f%u", (unsigned int)(world->seq % 7));
		source_begin(&world->source, world->seq * SECOND, SECOND);
		CHECK_OK(batch_add_row(
		        world->source.batch, world->series, source_stack(&world->source, name), 1));
		assert_int_equal(source_append(&world->source, world->store, world->seq), WIRE_OK);
	}
}

static struct world world_new(void)
{
	struct world world = { .dir = test_dir_new() };
	snprintf(world.data, sizeof(world.data), "%s/data", world.dir.path);
	snprintf(world.backups, sizeof(world.backups), "%s/backups", world.dir.path);
	snprintf(world.to, sizeof(world.to), "%s/restored", world.dir.path);
	world.store = open_store(world.data);
	world.source = source_new(world.store, 1);
	world.series = source_series(&world.source, "cart", "a", 1);
	return world;
}

static void world_free(struct world *world)
{
	source_free(&world->source);
	store_free(world->store);
	test_dir_remove(&world->dir);
}

static struct store_backup_options named(const struct world *world, const char *name)
{
	return (struct store_backup_options){ .folder = world->backups, .name = name };
}

static struct backup_contents create(struct world *world, const char *name)
{
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	int r = store_backup_create(
	        world->store, named(world, name), &manifest, world->error, sizeof(world->error));
	if (r < 0)
		fail_msg("%d: %s", r, world->error);
	assert_string_equal(manifest.name, name);
	CHECK(manifest.files_count >= 3 && backup_manifest_bytes(&manifest) > 0);
	return manifest.contents;
}

static int fail_finding(void *owner, const struct store_finding *finding)
{
	fail_msg("%s %s: %s", finding->family, finding->key, finding->reason);
	return 0;
}

/* Opens what was restored: it has so many samples, and nothing is wrong with it. */
static void expect_restored(const char *path, uint64_t samples)
{
	struct store_verify_summary summary;
	struct store_verify_options options = { .path = path, .found = fail_finding };
	char error[512];
	CHECK_OK(store_verify(&options, &summary, error, sizeof(error)));
	AUTO(store) store = open_store(path);
	assert_int_equal(store_fixture_value(store, "cpu", 0, UINT64_MAX), samples);
}

static void a_backup_is_the_store_of_its_moment(void **state)
{
	struct world world = world_new();
	world_append(&world, 35);
	CHECK_OK(store_seal(world.store, 30 * SECOND));
	struct backup_contents first = create(&world, "first");
	assert_int_equal(first.batches, 35);
	assert_int_equal(first.samples, 35);
	assert_int_equal(first.windows, 3);
	CHECK(first.format >= 2 && first.format_min >= 2);
	world_append(&world, 10);
	CHECK_OK(store_flush(world.store));
	assert_int_equal(create(&world, "second").batches, 45);
	uint64_t batches;
	CHECK_OK(store_delete_range(world.store, 0, UINT64_MAX, &batches));
	assert_int_equal(create(&world, "third").windows, 0);

	static const struct {
		const char *name;
		uint64_t samples;
	} expected[] = { { "first", 35 }, { "second", 45 }, { "third", 0 } };
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		char to[320];
		struct store_backup_options options = named(&world, expected[i].name);
		CHECK_OK(store_backup_verify(options, world.error, sizeof(world.error)));
		snprintf(to, sizeof(to), "%s%zu/", world.to, i);
		if (i == 1)
			CHECK_OK(mkdir(to, 0700)); /* an empty one may be there */
		int r = store_backup_restore(options, to, world.error, sizeof(world.error));
		if (r < 0)
			fail_msg("%s", world.error);
		expect_restored(to, expected[i].samples);
		/* What was restored lives on its own. */
		CHECK_OK(store_backup_verify(options, world.error, sizeof(world.error)));
	}
	world_free(&world);
}

struct appending {
	struct world *world;
	_Atomic uint64_t acked;
	_Atomic bool is_stopping;
};

static void *append_on(void *owner)
{
	struct appending *appending = owner;
	while (!appending->is_stopping) {
		world_append(appending->world, 1);
		appending->acked = appending->world->seq;
	}
	return NULL;
}

static void what_was_acknowledged_before_is_in_it_while_others_append(void **state)
{
	struct world world = world_new();
	struct appending appending = { .world = &world };
	pthread_t thread;
	world_append(&world, 5);
	CHECK_OK(pthread_create(&thread, NULL, append_on, &appending));
	for (int i = 0; i < 5; i++) {
		char name[16];
		char to[320];
		snprintf(name, sizeof(name), "b%d", i);
		snprintf(to, sizeof(to), "%s%d", world.to, i);
		CHECK_OK(store_seal(world.store, appending.acked * SECOND / 2));
		uint64_t before = appending.acked;
		uint64_t in_it = create(&world, name).batches;
		CHECK(in_it >= before);
		CHECK_OK(store_backup_restore(
		        named(&world, name), to, world.error, sizeof(world.error)));
		expect_restored(to, in_it);
	}
	appending.is_stopping = true;
	CHECK_OK(pthread_join(thread, NULL));
	world_free(&world);
}

struct listed {
	uint32_t count;
	uint32_t damaged;
	char names[256];
};

static int list_one(void *owner, const struct backup_manifest *manifest, int result)
{
	struct listed *listed = owner;
	size_t count = strlen(listed->names);
	listed->count++;
	listed->damaged += result < 0;
	CHECK(result == 0 || manifest->files_count == 0);
	snprintf(listed->names + count, sizeof(listed->names) - count, "%s ", manifest->name);
	return 0;
}

static void flip_byte(const char *path, off_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK(pread(fd, &byte, 1, at) == 1);
	byte ^= 1;
	CHECK(pwrite(fd, &byte, 1, at) == 1);
	close(fd);
}

static void a_damaged_backup_is_named_and_not_restored(void **state)
{
	struct world world = world_new();
	char path[700];
	struct listed listed = { 0 };
	world_append(&world, 20);
	CHECK_OK(store_seal(world.store, UINT64_MAX));
	(void)create(&world, "good");
	(void)create(&world, "bad");
	(void)create(&world, "worse");
	(void)create(&world, "gone");

	/* A file that is not shared with the store and other backups. */
	snprintf(path, sizeof(path), "%s/bad/store/CURRENT", world.backups);
	flip_byte(path, 3);
	snprintf(path, sizeof(path), "%s/worse/manifest", world.backups);
	flip_byte(path, 30);
	snprintf(path, sizeof(path), "%s/gone/store/CURRENT", world.backups);
	CHECK_OK(unlink(path));
	CHECK_OK(store_backup_list(world.backups, list_one, &listed));
	assert_string_equal(listed.names, "bad gone good worse ");
	assert_int_equal(listed.damaged, 1);

	static const char *const names[] = { "bad", "worse", "gone" };
	static const char *const words[] = { "file CURRENT is not what", "manifest", "is missing" };
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct store_backup_options options = named(&world, names[i]);
		assert_int_equal(
		        store_backup_verify(options, world.error, sizeof(world.error)), -EBADMSG);
		CHECK(strstr(world.error, names[i]) && strstr(world.error, words[i]));
		assert_int_equal(
		        store_backup_restore(options, world.to, world.error, sizeof(world.error)),
		        -EBADMSG);
		CHECK(access(world.to, F_OK) < 0);
	}
	CHECK_OK(store_backup_restore(
	        named(&world, "good"), world.to, world.error, sizeof(world.error)));
	for (size_t i = 0; i < COUNT_OF(names); i++)
		CHECK_OK(store_backup_delete(
		        named(&world, names[i]), world.error, sizeof(world.error)));
	listed = (struct listed){ 0 };
	CHECK_OK(store_backup_list(world.backups, list_one, &listed));
	assert_string_equal(listed.names, "good ");
	world_free(&world);
}

/* Whoever reads a fifo waits for ever, and a link shows what is somebody else's. */
static void what_is_no_file_is_named_and_not_read(void **state)
{
	struct world world = world_new();
	char path[700];
	world_append(&world, 3);
	(void)create(&world, "fifo");
	(void)create(&world, "link");
	(void)create(&world, "folder");
	(void)create(&world, "manifest");
	snprintf(path, sizeof(path), "%s/fifo/store/CURRENT", world.backups);
	CHECK_OK(unlink(path));
	CHECK_OK(mkfifo(path, 0600));
	snprintf(path, sizeof(path), "%s/link/store/CURRENT", world.backups);
	CHECK_OK(unlink(path));
	CHECK_OK(symlink("/etc/passwd", path));
	snprintf(path, sizeof(path), "%s/folder/store/CURRENT", world.backups);
	CHECK_OK(unlink(path));
	CHECK_OK(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/manifest/manifest", world.backups);
	CHECK_OK(unlink(path));
	CHECK_OK(mkfifo(path, 0600));
	snprintf(path, sizeof(path), "%s/other", world.backups);
	CHECK_OK(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/data", world.backups);
	CHECK_OK(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/data/CURRENT", world.backups);
	test_file_write(path, "MANIFEST-000001\n", 16);
	static const char *const names[] = { "fifo", "link", "folder", "manifest", "other",
		"data" };
	static const char *const words[] = { "CURRENT is no file", "CURRENT is no file",
		"CURRENT is no file", "manifest is missing", "is no backup: it has neither",
		"is the folder of a store and no backup" };
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct store_backup_options options = named(&world, names[i]);
		assert_int_equal(
		        store_backup_restore(options, world.to, world.error, sizeof(world.error)),
		        -EBADMSG);
		CHECK(strstr(world.error, names[i]));
		CHECK(strstr(world.error, words[i]));
		CHECK(access(world.to, F_OK) < 0);
	}
	snprintf(path, sizeof(path), "%s/folder/store/CURRENT", world.backups);
	CHECK_OK(rmdir(path));
	world_free(&world);
}

/* Where files cannot be linked the store's folder has a checkpoint meanwhile, and not after it. */
static void a_backup_on_another_disk_is_whole_and_leaves_nothing_beside_the_store(void **state)
{
	struct world world = world_new();
	struct stat here, there;
	char stage[700];
	if (stat(world.dir.path, &here) < 0 || stat("/dev/shm", &there) < 0 ||
	        here.st_dev == there.st_dev || access("/dev/shm", W_OK) < 0) {
		world_free(&world);
		skip();
	}
	struct test_dir other = test_dir_new_below("/dev/shm");
	snprintf(world.backups, sizeof(world.backups), "%s/backups", other.path);
	world_append(&world, 35);
	CHECK_OK(store_seal(world.store, 30 * SECOND));
	/* What a kill in the middle of one left. */
	snprintf(stage, sizeof(stage), "%s/backup-checkpoint", world.data);
	CHECK_OK(mkdir(stage, 0700));
	snprintf(stage, sizeof(stage), "%s/backup-checkpoint/000001.sst", world.data);
	test_file_write(stage, "half", 4);
	assert_int_equal(create(&world, "first").samples, 35);
	world_append(&world, 5);
	assert_int_equal(create(&world, "second").samples, 40);
	snprintf(stage, sizeof(stage), "%s/backup-checkpoint", world.data);
	CHECK(access(stage, F_OK) < 0);
	CHECK_OK(store_backup_verify(named(&world, "first"), world.error, sizeof(world.error)));
	CHECK_OK(store_backup_restore(
	        named(&world, "second"), world.to, world.error, sizeof(world.error)));
	expect_restored(world.to, 40);
	world_free(&world);
	test_dir_remove(&other);
}

static void names_and_targets_that_would_harm_are_refused(void **state)
{
	struct world world = world_new();
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	static const char *const bad[] = { "", "..", "a/b", "/tmp/x", ".a", "-x", "a b" };
	struct listed listed = { 0 };
	assert_int_equal(store_backup_list(world.backups, list_one, &listed), -ENOENT);
	world_append(&world, 3);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct store_backup_options options = named(&world, bad[i]);
		assert_int_equal(store_backup_create(world.store, options, &manifest, world.error,
		                         sizeof(world.error)),
		        -EINVAL);
		assert_int_equal(
		        store_backup_delete(options, world.error, sizeof(world.error)), -EINVAL);
	}
	(void)create(&world, "a");
	struct store_backup_options a = named(&world, "a");
	assert_int_equal(
	        store_backup_create(world.store, a, &manifest, world.error, sizeof(world.error)),
	        -EEXIST);
	/* The running store itself is the folder that must never be written over. */
	assert_int_equal(
	        store_backup_restore(a, world.data, world.error, sizeof(world.error)), -ENOTEMPTY);
	CHECK(strstr(world.error, "not empty"));
	struct store_backup_options none = named(&world, "none");
	assert_int_equal(
	        store_backup_restore(none, world.to, world.error, sizeof(world.error)), -ENOENT);
	assert_int_equal(store_backup_delete(none, world.error, sizeof(world.error)), -ENOENT);
	world_free(&world);
}

static int end_half_way(void *owner, uint64_t bytes_done, uint64_t bytes_total)
{
	CHECK(bytes_done <= bytes_total);
	return bytes_done * 2 > bytes_total;
}

static void one_that_is_ended_leaves_nothing_and_may_be_tried_again(void **state)
{
	struct world world = world_new();
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	struct listed listed = { 0 };
	char left[700];
	world_append(&world, 30);
	CHECK_OK(store_seal(world.store, UINT64_MAX));
	struct store_backup_options options = named(&world, "a");
	options.progress = end_half_way;
	assert_int_equal(store_backup_create(
	                         world.store, options, &manifest, world.error, sizeof(world.error)),
	        -ECANCELED);
	/* As a kill leaves it. */
	snprintf(left, sizeof(left), "%s/.a.partial", world.backups);
	CHECK_OK(mkdir(left, 0700));
	snprintf(left, sizeof(left), "%s/.a.partial/store", world.backups);
	CHECK_OK(mkdir(left, 0700));
	snprintf(left, sizeof(left), "%s/.a.partial/store/000009.sst", world.backups);
	close(open(left, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	CHECK_OK(store_backup_list(world.backups, list_one, &listed));
	assert_int_equal(listed.count, 0);
	(void)create(&world, "a");
	assert_int_equal(store_backup_restore(options, world.to, world.error, sizeof(world.error)),
	        -ECANCELED);
	CHECK(access(world.to, F_OK) < 0);
	options.progress = NULL;
	CHECK_OK(store_backup_restore(options, world.to, world.error, sizeof(world.error)));
	expect_restored(world.to, 30);
	world_free(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_backup_is_the_store_of_its_moment),
		cmocka_unit_test(what_was_acknowledged_before_is_in_it_while_others_append),
		cmocka_unit_test(a_damaged_backup_is_named_and_not_restored),
		cmocka_unit_test(what_is_no_file_is_named_and_not_read),
		cmocka_unit_test(
		        a_backup_on_another_disk_is_whole_and_leaves_nothing_beside_the_store),
		cmocka_unit_test(names_and_targets_that_would_harm_are_refused),
		cmocka_unit_test(one_that_is_ended_leaves_nothing_and_may_be_tried_again),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

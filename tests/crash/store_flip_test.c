/*
 * Every byte of every file of a small store (store_small.h), changed one at a time: open batches in
 * the log, windows, hours, days, two dictionaries, runs, policies and audit log in RocksDB's files,
 * its manifest, ours. Whatever byte it is: each answer is exact, or says that something is corrupt
 * and the store can name it, or the store is refused; never a wrong number, never a crash. And
 * whenever something is not exact, verifying the store says what is wrong. Of a backup, no byte can
 * be changed without it being refused.
 *
 * The program runs itself: once to make the store (it leaves without closing it, so that the log is
 * full), then as several workers, each on its share of the bytes. A worker writes down where it is
 * before it goes there, so that a crash names its byte. What is changed about a byte follows from
 * its place alone, PROFLEET_SEED=N makes it another change.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/store_backup.h"
#include "storage/store_verify.h"
#include "storage/table_file.h"
#include "tests/crash/store_small.h"

#define WORKERS    2
#define FILES_MAX  64
#define GO_ON_EACH 24 /* bytes: what follows a change is tried as well */
#define ALIVE_EACH 16 /* of those that an open store notices: one is opened anew */

extern char **environ;

/* ---- files ---- */

struct file {
	char name[64];
	uint8_t *bytes;
	size_t count;
};

struct folder {
	struct file files[FILES_MAX];
	size_t count;
	size_t bytes;
};

static int compare_files(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void folder_read(struct folder *folder, const char *path)
{
	DIR *entries = opendir(path);
	assert_non_null(entries);
	for (struct dirent *entry; (entry = readdir(entries));) {
		char full[600];
		struct file *file = &folder->files[folder->count];
		if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
			continue;
		assert_true(folder->count < FILES_MAX);
		snprintf(full, sizeof(full), "%s/%s", path, entry->d_name);
		snprintf(file->name, sizeof(file->name), "%s", entry->d_name);
		file->bytes = (uint8_t *)test_file_read(full, &file->count);
		folder->bytes += file->count;
		folder->count++;
	}
	closedir(entries);
	qsort(folder->files, folder->count, sizeof(folder->files[0]), compare_files);
}

static void folder_free(struct folder *folder)
{
	for (size_t f = 0; f < folder->count; f++)
		free(folder->files[f].bytes);
	*folder = (struct folder){ .count = 0 };
}

static void folder_write(const struct folder *folder, const char *path)
{
	CHECK_OK(mkdir(path, 0700));
	for (size_t i = 0; i < folder->count; i++) {
		char full[600];
		snprintf(full, sizeof(full), "%s/%s", path, folder->files[i].name);
		test_file_write(full, folder->files[i].bytes, folder->files[i].count);
	}
}

static bool is_table(const struct file *file)
{
	return strstr(file->name, ".sst");
}

/* As folder_write(), with links for files that nobody writes to once they are made. */
static void folder_link(const struct folder *folder, const char *from, const char *path)
{
	CHECK_OK(mkdir(path, 0700));
	for (size_t i = 0; i < folder->count; i++) {
		const struct file *file = &folder->files[i];
		char full[600];
		char old[600];
		snprintf(full, sizeof(full), "%s/%s", path, file->name);
		snprintf(old, sizeof(old), "%s/%s", from, file->name);
		if (is_table(file))
			CHECK_OK(link(old, full));
		else
			test_file_write(full, file->bytes, file->count);
	}
}

/* One byte of a file, there and here. */
static void file_change(struct file *file, const char *folder, size_t at, uint8_t flip)
{
	char full[600];
	snprintf(full, sizeof(full), "%s/%s", folder, file->name);
	file->bytes[at] ^= flip;
	int fd = open(full, O_WRONLY | O_CLOEXEC);
	CHECK(fd >= 0 && pwrite(fd, &file->bytes[at], 1, (off_t)at) == 1);
	close(fd);
}

static void folder_remove(const char *path)
{
	DIR *entries = opendir(path);
	if (!entries)
		return;
	for (struct dirent *entry; (entry = readdir(entries));)
		if (entry->d_name[0] != '.')
			CHECK_OK(unlinkat(dirfd(entries), entry->d_name, 0));
	closedir(entries);
	CHECK_OK(rmdir(path));
}

/* ---- a worker ---- */

/* Shared with the parent. */
struct tally {
	char at[96]; /* the byte that is being tried */
	uint64_t flips;
	uint64_t verdicts[SMALL_VERDICTS];
	uint64_t found;    /* by verifying */
	uint64_t unneeded; /* nobody noticed, and every answer was exact */
	uint64_t unneeded_by[FILES_MAX];
	char wrong[256];
};

static int ignore_finding(void *owner, const struct store_finding *finding)
{
	(void)owner;
	(void)finding;
	return 0;
}

static bool is_found(const char *path)
{
	struct store_verify_summary summary;
	struct store_verify_options options = { .path = path, .found = ignore_finding };
	char error[512];
	return store_verify(&options, &summary, error, sizeof(error)) < 0 || summary.damaged > 0;
}

static enum small_verdict try_store(const char *path, const struct small_answers *expected,
        bool is_to_go_on, struct small_answers *ret)
{
	struct store *store = NULL;
	char error[512];
	if (store_open(small_options(path), &store, error, sizeof(error)) < 0)
		return SMALL_REFUSED;
	enum small_verdict verdict = small_ask(store, expected, ret);
	if (is_to_go_on)
		small_go_on(store);
	store_free(store);
	return verdict;
}

struct worker {
	struct folder folder;
	char kept[500]; /* what is verified */
	char work[500]; /* what is opened: tables are links into `kept` */
	bool is_linked; /* `work` is there, and as it was made */
	/*
	 * Opened once, on links as well, and caching no blocks: what a question reads of a table it
	 * reads anew. What it met is forgotten after each byte, which the clock does.
	 */
	char live[500];
	struct store *store;
	int kept_fd;
	struct small_answers expected;
	struct small_answers got;
	struct tally *tally;
	uint64_t number;
	uint64_t seed;
};

/* When a name in it changed. */
static struct timespec folder_time(const char *path)
{
	struct stat status;
	CHECK_OK(stat(path, &status));
	return status.st_mtim;
}

/*
 * Opens the store with the byte changed, which it is in `kept` and in memory already. Most are
 * refused before anything is written: then the folder serves the next one.
 */
static enum small_verdict try_open(
        struct worker *worker, struct file *file, size_t at, uint8_t flip, bool is_to_go_on)
{
	if (!worker->is_linked) {
		folder_link(&worker->folder, worker->kept, worker->work);
	} else if (!is_table(file)) {
		file->bytes[at] ^= flip;
		file_change(file, worker->work, at, flip);
	}
	struct timespec before = folder_time(worker->work);
	enum small_verdict verdict = try_store(
	        worker->work, &worker->expected, is_to_go_on, &worker->got);
	struct timespec after = folder_time(worker->work);
	worker->is_linked = verdict == SMALL_REFUSED && before.tv_sec == after.tv_sec &&
	                    before.tv_nsec == after.tv_nsec;
	if (!worker->is_linked) {
		folder_remove(worker->work);
	} else if (!is_table(file)) {
		file_change(file, worker->work, at, flip);
		file->bytes[at] ^= flip;
	}
	return verdict;
}

/*
 * Most bytes of a table are noticed by a check before the open, or by the questions that read
 * them: the latter without opening anything. One in so many is tried by opening all the same, and
 * so is every byte that no question notices.
 */
static bool is_noticed_alive(struct worker *worker, const struct file *file, uint64_t place,
        enum small_verdict *ret_verdict)
{
	struct quarantine_record record;
	if (!is_table(file) || place / WORKERS % ALIVE_EACH == 0 ||
	        table_file_check(worker->kept_fd, file->name, &(struct table_place){ 0 }) < 0)
		return false;
	*ret_verdict = small_ask(worker->store, &worker->expected, &worker->got);
	clock_virtual_advance(&small_clock, 2 * QUARANTINE_FORGET_NS);
	(void)store_take_unreadable(worker->store, &record, 1);
	CHECK(store_unreadable_count(worker->store) == 0);
	return *ret_verdict != SMALL_EXACT;
}

/* false: there is a wrong answer. */
static bool flip_byte(struct worker *worker, size_t f, size_t at, uint64_t place)
{
	struct tally *tally = worker->tally;
	struct file *file = &worker->folder.files[f];
	uint64_t change = place + worker->seed;
	uint8_t flip = (uint8_t)(1 + hash64_bytes(&change, sizeof(change)) % 255);
	snprintf(tally->at, sizeof(tally->at), "%s byte %zu ^ %02x", file->name, at, flip);
	file_change(file, worker->kept, at, flip);
	bool found = is_found(worker->kept);
	enum small_verdict verdict;
	if (!is_noticed_alive(worker, file, place, &verdict))
		verdict = try_open(worker, file, at, flip, place / WORKERS % GO_ON_EACH == 0);
	file_change(file, worker->kept, at, flip);

	tally->flips++;
	tally->verdicts[verdict]++;
	tally->found += found;
	if (!found && verdict == SMALL_EXACT) {
		tally->unneeded++;
		tally->unneeded_by[f]++;
	}
	if (verdict != SMALL_WRONG && (found || verdict == SMALL_EXACT))
		return true;
	snprintf(tally->wrong, sizeof(tally->wrong), "%s: wrong: %s", tally->at,
	        verdict == SMALL_WRONG ? worker->got.wrong : "verifying does not find it");
	return false;
}

/* argv: program, "flip", the store, a folder to work in, number of this worker, file of the tally.
 */
static int flip_all(char **argv)
{
	static struct worker worker;
	const char *seed = getenv("PROFLEET_SEED");
	uint64_t place = 0;
	int fd = open(argv[5], O_RDWR | O_CLOEXEC);
	worker.tally = mmap(NULL, sizeof(*worker.tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(fd >= 0 && worker.tally != MAP_FAILED);
	worker.number = strtoull(argv[4], NULL, 10);
	worker.seed = seed ? strtoull(seed, NULL, 10) : 0;
	folder_read(&worker.folder, argv[2]);
	snprintf(worker.work, sizeof(worker.work), "%s/work%" PRIu64, argv[3], worker.number);
	snprintf(worker.kept, sizeof(worker.kept), "%s/kept%" PRIu64, argv[3], worker.number);
	snprintf(worker.live, sizeof(worker.live), "%s/live%" PRIu64, argv[3], worker.number);

	folder_write(&worker.folder, worker.kept);
	worker.kept_fd = open(worker.kept, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(worker.kept_fd >= 0);
	CHECK(!is_found(worker.kept));
	folder_link(&worker.folder, worker.kept, worker.work);
	CHECK(try_store(worker.work, NULL, false, &worker.expected) == SMALL_EXACT);
	folder_remove(worker.work);
	struct store_options options = small_options(worker.live);
	options.block_cache_bytes = 0;
	folder_link(&worker.folder, worker.kept, worker.live);
	worker.store = store_fixture_open_with(options);
	for (size_t f = 0; f < worker.folder.count; f++)
		for (size_t at = 0; at < worker.folder.files[f].count; at++)
			if (place++ % WORKERS == worker.number && !flip_byte(&worker, f, at, place))
				return 1;
	return 0;
}

/* As a kill: nothing is flushed. */
static int make_store(const char *path)
{
	(void)small_make(path);
	_exit(0);
}

/* ---- all of it ---- */

static pid_t spawn(const char *const arguments[])
{
	pid_t child;
	CHECK_OK(posix_spawn(
	        &child, "/proc/self/exe", NULL, NULL, (char *const *)arguments, environ));
	return child;
}

static int wait_for(pid_t child)
{
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void report(const struct folder *folder, const struct tally *tallies)
{
	struct tally all = { 0 };
	for (int i = 0; i < WORKERS; i++) {
		all.flips += tallies[i].flips;
		all.found += tallies[i].found;
		all.unneeded += tallies[i].unneeded;
		for (int v = 0; v < SMALL_VERDICTS; v++)
			all.verdicts[v] += tallies[i].verdicts[v];
		for (size_t f = 0; f < folder->count; f++)
			all.unneeded_by[f] += tallies[i].unneeded_by[f];
	}
	print_message("%" PRIu64 " bytes of %zu files, each once: %" PRIu64 " exact, %" PRIu64
	              " named, %" PRIu64 " refused; verifying found %" PRIu64 ", %" PRIu64
	              " are read by nobody\n",
	        all.flips, folder->count, all.verdicts[SMALL_EXACT], all.verdicts[SMALL_NAMED],
	        all.verdicts[SMALL_REFUSED], all.found, all.unneeded);
	for (size_t f = 0; f < folder->count; f++)
		print_message("  %-24s %6zu bytes, %" PRIu64 " read by nobody\n",
		        folder->files[f].name, folder->files[f].count, all.unneeded_by[f]);
	assert_int_equal(all.flips, folder->bytes);
	CHECK(all.verdicts[SMALL_REFUSED] > 0 && all.verdicts[SMALL_NAMED] > 0 && all.found > 0);
}

static void no_byte_makes_a_wrong_answer(void **state)
{
	static struct folder folder;
	TEST_DIR(dir);
	/* In memory where there is a file system there: a hundred thousand small files. */
	struct test_dir memory = access("/dev/shm", W_OK) == 0 ? test_dir_new_below("/dev/shm")
	                                                       : test_dir_new();
	const char *base = memory.path;
	char data[400];
	char tally_path[400];
	pid_t children[WORKERS];
	snprintf(data, sizeof(data), "%s/data", dir.path);
	snprintf(tally_path, sizeof(tally_path), "%s/tally", dir.path);
	CHECK(WEXITSTATUS(wait_for(spawn((const char *[]){ "flip", "make", data, NULL }))) == 0);
	folder_read(&folder, data);

	struct tally tallies[WORKERS];
	for (int i = 0; i < WORKERS; i++) {
		char number[8];
		char path[420];
		snprintf(number, sizeof(number), "%d", i);
		snprintf(path, sizeof(path), "%s%d", tally_path, i);
		memset(&tallies[i], 0, sizeof(tallies[i]));
		test_file_write(path, &tallies[i], sizeof(tallies[i]));
		children[i] = spawn(
		        (const char *[]){ "flip", "flip", data, base, number, path, NULL });
	}
	bool has_failed = false;
	for (int i = 0; i < WORKERS; i++) {
		char path[420];
		size_t count;
		int status = wait_for(children[i]);
		snprintf(path, sizeof(path), "%s%d", tally_path, i);
		autofree char *bytes = test_file_read(path, &count);
		assert_int_equal(count, sizeof(tallies[i]));
		memcpy(&tallies[i], bytes, sizeof(tallies[i]));
		if (status != 0) {
			has_failed = true;
			print_error("worker %d: status %x, at %s; %s\n", i, (unsigned int)status,
			        tallies[i].at, tallies[i].wrong);
		}
	}
	test_dir_remove(&memory);
	CHECK(!has_failed);
	report(&folder, tallies);
	folder_free(&folder);
}

/* ---- a backup ---- */

/* Every so manyth byte of its files: each is hashed as a whole. Returns how many that were. */
static size_t flip_backup_folder(const struct store_backup_options *options, size_t each,
        struct folder *folder, const char *path)
{
	char error[512];
	size_t flips = 0;
	for (size_t f = 0; f < folder->count; f++)
		for (size_t at = f % each; at < folder->files[f].count; at += each) {
			uint8_t flip = (uint8_t)(1 + (at + f) % 255);
			flips++;
			file_change(&folder->files[f], path, at, flip);
			int r = store_backup_verify(*options, error, sizeof(error));
			if (r == 0)
				fail_msg("%s byte %zu ^ %02x is not seen", folder->files[f].name,
				        at, flip);
			file_change(&folder->files[f], path, at, flip);
		}
	return flips;
}

static void no_byte_of_a_backup_changes_unseen(void **state)
{
	static struct folder folder;
	TEST_DIR(dir);
	char data[400];
	char backups[400];
	char path[500];
	char error[512] = "";
	AUTO_BACKUP_MANIFEST manifest = { .files = NULL };
	snprintf(data, sizeof(data), "%s/data", dir.path);
	snprintf(backups, sizeof(backups), "%s/backups", dir.path);
	struct store_backup_options options = { .folder = backups, .name = "b" };
	struct store *store = small_make(data);
	if (store_backup_create(store, options, &manifest, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	store_free(store);
	CHECK_OK(store_backup_verify(options, error, sizeof(error)));
	snprintf(path, sizeof(path), "%s/b", backups);
	folder_read(&folder, path);
	size_t bytes = flip_backup_folder(&options, 1, &folder, path);
	folder_free(&folder);
	snprintf(path, sizeof(path), "%s/b/store", backups);
	folder_read(&folder, path);
	bytes += flip_backup_folder(&options, 29, &folder, path);
	folder_free(&folder);
	CHECK_OK(store_backup_verify(options, error, sizeof(error)));
	print_message("%zu bytes of a backup, each once: refused\n", bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_makes_a_wrong_answer),
		cmocka_unit_test(no_byte_of_a_backup_changes_unseen),
	};
	if (argc == 3 && strcmp(argv[1], "make") == 0)
		return make_store(argv[2]);
	if (argc == 6 && strcmp(argv[1], "flip") == 0)
		return flip_all(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

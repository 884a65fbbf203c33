/*
 * Every byte of every file of a small store, changed one at a time: open batches in the log, sealed
 * windows and a dictionary in RocksDB's files, its manifest, ours. Whatever byte it is: each answer
 * is exact, or says that something is corrupt, or the store is refused; never a wrong number, never
 * a crash. And whenever something is not exact, verifying the store says what is wrong.
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

#include "core/hash.h"
#include "core/rng.h"
#include "storage/store_verify.h"
#include "tests/unit/storage/store_fixture.h"

#define WORKERS   2
#define FILES_MAX 64
#define WINDOW_S  20

extern char **environ;

/* ---- the store ---- */

static struct store_options flip_options(const char *path)
{
	struct store_options options = store_fixture_options(path);
	options.window_ns = WINDOW_S * SECOND;
	options.block_cache_bytes = 1 << 20;
	return options;
}

static void flip_append(struct store *store, struct source *source, uint32_t seq)
{
	static const char *const services[] = { "cart", "shop" };
	source_begin(source, seq * 5 * SECOND, 5 * SECOND);
	for (uint32_t i = 0; i < 4; i++) {
		char name[16];
		snprintf(name, sizeof(name), "i%u", i);
		uint32_t series = source_series(source, services[i % 2], name, 1);
		for (uint32_t j = 0; j < 3; j++) {
			snprintf(name, sizeof(name), "f%u", (seq + i * j) % 7);
			CHECK_OK(batch_add_row(source->batch, series, source_stack(source, name),
			        1 + seq * 3 + j));
		}
		CHECK_OK(batch_add_coverage(source->batch, series, 5 * SECOND));
	}
	CHECK_OK(batch_add_loss(source->batch, SERIES_NONE, LOSS_PERF_LOST, seq));
	assert_int_equal(source_append(source, store, seq), WIRE_OK);
}

static int make_store(const char *path)
{
	struct store *store = store_fixture_open_with(flip_options(path));
	struct source source = source_new(store, 1);
	for (uint32_t seq = 1; seq <= 8; seq++)
		flip_append(store, &source, seq);
	CHECK_OK(store_seal(store, 2 * WINDOW_S * SECOND));
	struct store_agent agent = { .host = "host", .program = "agent" };
	CHECK_OK(store_agent_put(store, &agent));
	CHECK_OK(store_symbols_put(store, "c0ffee", "", 0));
	CHECK_OK(store_flush(store));
	for (uint32_t seq = 9; seq <= 12; seq++)
		flip_append(store, &source, seq);
	_exit(0); /* as a kill: nothing is flushed */
}

/* ---- what it answers ---- */

struct answers {
	uint64_t hash[4];
	uint64_t batches;
	struct store_counters counters;
};

struct scanned {
	uint64_t batches;
	uint64_t samples;
};

static int count_batch(void *owner, const struct store_stream *stream, const struct batch *batch)
{
	struct scanned *scanned = owner;
	(void)stream;
	scanned->batches++;
	scanned->samples += batch_samples(batch);
	return 0;
}

static uint64_t hash_sum(const struct store_match *match, const struct store_sum *sum)
{
	uint64_t hash = 0;
	for (uint32_t i = 0; i < sum->parts_count; i++) {
		const struct dict *dict = match->parts[i].dict;
		for (uint32_t j = 0; j < sum->parts[i].rows_count; j++) {
			const struct store_sum_row *row = &sum->parts[i].rows[j];
			const struct frame *frame = dict_get_frame(
			        dict, dict_get_node(dict, row->node).frame);
			const char *name = dict_text(dict, frame->function);
			hash += (hash64_bytes(name, strlen(name)) ^ row->group) * (row->value + 1);
		}
	}
	hash += hash64_bytes(sum->coverage_ns, match->series_count * sizeof(*sum->coverage_ns));
	return hash + hash64_bytes(&sum->completeness, sizeof(sum->completeness));
}

enum verdict { EXACT, NAMED, REFUSED, WRONG, VERDICTS };

/* Of whole windows, of parts of some, of one label, of one service: sums and detail. */
static enum verdict ask(struct store *store, const struct answers *expected, struct answers *ret)
{
	static const struct {
		const char *selector;
		uint64_t from_s, to_s;
	} questions[] = {
		{ "cpu", 0, 1000 },
		{ "cpu", 7, 51 },
		{ "cpu{instance=\"i1\"}", 0, 1000 },
		{ "cpu{service=\"shop\"}", 0, 40 },
	};
	enum verdict verdict = EXACT;
	for (size_t i = 0; i < COUNT_OF(questions); i++) {
		uint64_t from_ns = questions[i].from_s * SECOND;
		uint64_t to_ns = questions[i].to_s * SECOND;
		AUTO(store_match) match = store_fixture_find(
		        store, questions[i].selector, from_ns, to_ns);
		autofree uint32_t *groups = store_fixture_groups(match);
		struct store_sum sum;
		struct store_sum_options options = {
			.from_ns = from_ns,
			.to_ns = to_ns,
			.match = match,
			.groups = groups,
			.memory_max = 1 << 20,
		};
		int r = store_sum(store, &options, &sum);
		if (r < 0) {
			verdict = verdict == EXACT ? REFUSED : verdict;
			continue;
		}
		bool is_named = sum.completeness.corrupt > 0;
		ret->hash[i] = hash_sum(match, &sum);
		store_sum_fini(&sum);
		if (is_named)
			verdict = verdict == WRONG ? WRONG : NAMED;
		else if (expected && ret->hash[i] != expected->hash[i])
			verdict = WRONG;
	}
	struct scanned scanned = { 0 };
	struct store_size size;
	int r = store_scan(store, 0, UINT64_MAX, NULL, count_batch, &scanned);
	CHECK_OK(store_size(store, &size));
	CHECK_OK(store_counters(store, "", &ret->counters));
	ret->batches = scanned.batches;
	if (!expected || verdict == WRONG)
		return verdict;
	if (memcmp(&ret->counters, &expected->counters, sizeof(ret->counters)) != 0)
		return WRONG;
	if (r < 0 && verdict == EXACT)
		return REFUSED;
	if (r == 0 && scanned.batches != expected->batches && size.corrupt == 0)
		return WRONG;
	return verdict;
}

/* An append of what is there, one of what is new, a seal: whatever they say, nothing breaks. */
static void go_on(struct store *store)
{
	struct source source = source_new(store, 1);
	source_begin(&source, 200 * SECOND, SECOND);
	struct store_append append = source_section(&source, 3);
	if (store_append(store, &append, 1) == 0)
		CHECK(append.ret_status == WIRE_DUP);
	source_begin(&source, 200 * SECOND, SECOND);
	append = source_section(&source, 100);
	if (store_append(store, &append, 1) == 0)
		CHECK(append.ret_status == WIRE_OK);
	(void)store_seal(store, UINT64_MAX);
	source_free(&source);
}

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
		if (entry->d_name[0] == '.')
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

static void folder_write(const struct folder *folder, const char *path)
{
	CHECK_OK(mkdir(path, 0700));
	for (size_t i = 0; i < folder->count; i++) {
		char full[600];
		snprintf(full, sizeof(full), "%s/%s", path, folder->files[i].name);
		test_file_write(full, folder->files[i].bytes, folder->files[i].count);
	}
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
		if (strstr(file->name, ".sst"))
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
	uint64_t verdicts[VERDICTS];
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

static enum verdict try_store(
        const char *path, const struct answers *expected, bool is_to_go_on, struct answers *ret)
{
	struct store *store = NULL;
	char error[512];
	if (store_open(flip_options(path), &store, error, sizeof(error)) < 0)
		return REFUSED;
	enum verdict verdict = ask(store, expected, ret);
	if (is_to_go_on)
		go_on(store);
	store_free(store);
	return verdict;
}

/* argv: program, "flip", the store, a folder to work in, number of this worker, file of the tally.
 */
static int flip_all(char **argv)
{
	static struct folder folder;
	struct answers expected = { 0 };
	struct answers got = { 0 };
	char work[500];
	char kept[500];
	uint64_t number = strtoull(argv[4], NULL, 10);
	const char *seed = getenv("PROFLEET_SEED");
	int fd = open(argv[5], O_RDWR | O_CLOEXEC);
	struct tally *tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(fd >= 0 && tally != MAP_FAILED);
	folder_read(&folder, argv[2]);
	snprintf(work, sizeof(work), "%s/work%" PRIu64, argv[3], number);
	snprintf(kept, sizeof(kept), "%s/kept%" PRIu64, argv[3], number);

	folder_write(&folder, kept);
	CHECK(!is_found(kept));
	folder_link(&folder, kept, work);
	CHECK(try_store(work, NULL, false, &expected) == EXACT);
	folder_remove(work);
	uint64_t place = 0;
	for (size_t f = 0; f < folder.count; f++) {
		struct file *file = &folder.files[f];
		for (size_t at = 0; at < file->count; at++) {
			if (place++ % WORKERS != number)
				continue;
			uint64_t change = place + (seed ? strtoull(seed, NULL, 10) : 0);
			uint8_t flip = (uint8_t)(1 + hash64_bytes(&change, sizeof(change)) % 255);
			snprintf(tally->at, sizeof(tally->at), "%s byte %zu ^ %02x", file->name, at,
			        flip);
			file_change(file, kept, at, flip);
			bool found = is_found(kept);
			folder_link(&folder, kept, work);
			enum verdict verdict = try_store(
			        work, &expected, place % 8 == number, &got);
			folder_remove(work);
			file_change(file, kept, at, flip);

			tally->flips++;
			tally->verdicts[verdict]++;
			tally->found += found;
			if (!found && verdict == EXACT) {
				tally->unneeded++;
				tally->unneeded_by[f]++;
			}
			if (verdict == WRONG || (!found && verdict != EXACT)) {
				snprintf(tally->wrong, sizeof(tally->wrong), "%s: %s", tally->at,
				        verdict == WRONG ? "a wrong answer"
				                         : "verifying does not find it");
				return 1;
			}
		}
	}
	return 0;
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
		for (int v = 0; v < VERDICTS; v++)
			all.verdicts[v] += tallies[i].verdicts[v];
		for (size_t f = 0; f < folder->count; f++)
			all.unneeded_by[f] += tallies[i].unneeded_by[f];
	}
	print_message("%" PRIu64 " bytes of %zu files, each once: %" PRIu64 " exact, %" PRIu64
	              " named, %" PRIu64 " refused; verifying found %" PRIu64 ", %" PRIu64
	              " are read by nobody\n",
	        all.flips, folder->count, all.verdicts[EXACT], all.verdicts[NAMED],
	        all.verdicts[REFUSED], all.found, all.unneeded);
	for (size_t f = 0; f < folder->count; f++)
		print_message("  %-24s %6zu bytes, %" PRIu64 " read by nobody\n",
		        folder->files[f].name, folder->files[f].count, all.unneeded_by[f]);
	assert_int_equal(all.flips, folder->bytes);
	CHECK(all.verdicts[REFUSED] > 0 && all.found > 0);
}

static void no_byte_makes_a_wrong_answer(void **state)
{
	static struct folder folder;
	TEST_DIR(dir);
	/* In memory where there is a file system there: a hundred thousand small files. */
	char memory[] = "/dev/shm/profleet-flip-XXXXXX";
	const char *base = mkdtemp(memory) ? memory : dir.path;
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
	for (int i = 0; i < WORKERS; i++) {
		char work[500];
		snprintf(work, sizeof(work), "%s/work%d", base, i);
		folder_remove(work);
		snprintf(work, sizeof(work), "%s/kept%d", base, i);
		folder_remove(work);
	}
	if (base == memory)
		(void)rmdir(memory);
	CHECK(!has_failed);
	report(&folder, tallies);
	for (size_t f = 0; f < folder.count; f++)
		free(folder.files[f].bytes);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_byte_makes_a_wrong_answer),
	};
	if (argc == 3 && strcmp(argv[1], "make") == 0)
		return make_store(argv[2]);
	if (argc == 6 && strcmp(argv[1], "flip") == 0)
		return flip_all(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * symbolizer: real files come back with the right names, hostile files with an error, and a child
 * that misbehaves is gone without harm to anyone.
 */

#include "agent/symbolizer.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/build_id.h"
#include "agent/symbolizer_work.h"
#include "core/auto.h"
#include "profile/symbols.h"
#include "tests/lib/test.h"

static const struct symbolizer_limits quick = {
	.memory_bytes = 256 << 20,
	.cpu_s = 1,
	.result_bytes = 1 << 20,
};

/* A function of ours with a name that nobody else has. */
int symbolizer_test_landmark(int value);
__attribute__((noinline)) int symbolizer_test_landmark(int value)
{
	return value * 3 + 1;
}

struct place {
	uintptr_t address;
	const char *path; /* "" is this program */
	uint64_t offset;
};

static int find_place(struct dl_phdr_info *object, size_t bytes, void *ret_place)
{
	struct place *place = ret_place;

	for (uint32_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		uintptr_t start = object->dlpi_addr + segment->p_vaddr;

		if (segment->p_type != PT_LOAD || place->address < start ||
		        place->address - start >= segment->p_filesz)
			continue;
		place->path = object->dlpi_name;
		place->offset = place->address - start + segment->p_offset;
		return 1;
	}
	return 0;
}

static struct symbols *extract(const char *path)
{
	AUTO_BUF table = { 0 };
	struct symbols *symbols = NULL;
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	CHECK_OK(symbolizer_extract(fd, symbolizer_limits_default, &table));
	CHECK_OK(symbols_open(table.bytes, table.count, &symbols));
	return symbols;
}

static void expect_name(uintptr_t address, const char *path, const char *name)
{
	struct place place = { .address = address };
	uint64_t start;

	assert_true(dl_iterate_phdr(find_place, &place));
	AUTO(symbols) symbols = extract(path ? path : place.path);
	assert_string_equal(symbols_find(symbols, place.offset, &start), name);
	assert_int_equal(start, place.offset);
	assert_string_equal(symbols_find(symbols, place.offset + 1, &start), name);
}

static void a_program_with_symtab_is_named(void **state)
{
	assert_int_equal(symbolizer_test_landmark(2), 7);
	expect_name(
	        (uintptr_t)symbolizer_test_landmark, "/proc/self/exe", "symbolizer_test_landmark");
}

static void a_stripped_library_is_named_by_dynsym(void **state)
{
	expect_name((uintptr_t)dlsym(RTLD_DEFAULT, "getsid"), NULL, "getsid");
}

static void a_file_in_another_process_s_words_is_refused(void **state)
{
	static const char *const texts[] = { "", "\177ELF", "#!/bin/sh\nexit 0\n", "!<arch>\n" };
	TEST_DIR(dir);
	char path[300];

	snprintf(path, sizeof(path), "%s/file", dir.path);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		AUTO_BUF table = { 0 };

		test_file_write(path, texts[i], strlen(texts[i]));
		autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_int_equal(symbolizer_extract(fd, quick, &table), -ENOEXEC);
		assert_int_equal(table.count, 0);
	}
}

static void a_cut_file_is_no_reason_to_die(void **state)
{
	TEST_DIR(dir);
	char path[300];
	size_t count;
	autofree char *whole = test_file_read("/proc/self/exe", &count);

	snprintf(path, sizeof(path), "%s/file", dir.path);
	for (uint32_t part = 0; part < 8; part++) {
		AUTO_BUF table = { 0 };

		test_file_write(path, whole, count / 8 * part + 64);
		autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
		int result = symbolizer_extract(fd, quick, &table);
		/* What can still be read may be read, but nothing else may happen. */
		assert_true(result == 0 || result == -ENODATA || result == -ENOEXEC);
	}
}

static void a_file_without_functions_has_no_table(void **state)
{
	Elf64_Ehdr elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_ehsize = sizeof(elf) };
	TEST_DIR(dir);
	AUTO_BUF table = { 0 };
	char path[300];

	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, &elf, sizeof(elf));
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(symbolizer_extract(fd, quick, &table), -ENODATA);
}

static void huge_counts_take_no_memory(void **state)
{
	struct {
		Elf64_Ehdr elf;
		Elf64_Shdr sections[3];
	} file = {
		.elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		        .e_type = ET_EXEC,
		        .e_machine = EM_X86_64,
		        .e_version = EV_CURRENT,
		        .e_ehsize = sizeof(Elf64_Ehdr),
		        .e_phoff = 64,
		        .e_phnum = PN_XNUM,
		        .e_phentsize = sizeof(Elf64_Phdr),
		        .e_shoff = 64,
		        .e_shentsize = sizeof(Elf64_Shdr) },
		/* e_shnum 0: the true number is the size of the first section. */
		.sections = { { .sh_size = UINT64_MAX / 64, .sh_info = UINT32_MAX },
		        { .sh_type = SHT_SYMTAB,
		                .sh_size = UINT64_MAX,
		                .sh_entsize = 24,
		                .sh_link = 2 },
		        { .sh_type = SHT_STRTAB, .sh_offset = UINT64_MAX, .sh_size = UINT64_MAX } },
	};
	TEST_DIR(dir);
	AUTO_BUF table = { 0 };
	char path[300];

	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, &file, sizeof(file));
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	int result = symbolizer_extract(fd, quick, &table);
	assert_true(result == -ENODATA || result == -ENOEXEC || result == -ENOMEM);
}

static void only_regular_files_of_bounded_size_are_read(void **state)
{
	AUTO_BUF table = { 0 };
	struct symbolizer_limits small = quick;
	autoclose int folder = open("/", O_RDONLY | O_CLOEXEC);
	autoclose int device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	autoclose int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	small.memory_bytes = 4096;
	assert_int_equal(symbolizer_extract(folder, quick, &table), -EINVAL);
	assert_int_equal(symbolizer_extract(device, quick, &table), -EINVAL);
	assert_int_equal(symbolizer_extract(-1, quick, &table), -EBADF);
	assert_int_equal(symbolizer_extract(self, small, &table), -E2BIG);
}

/* Programs with their debugging information have gigabytes; only the tables are ever looked at. */
static void a_file_may_be_larger_than_the_memory(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF table = { 0 };
	AUTO(symbols) symbols = NULL;
	struct stat status;
	char path[300];
	autoclose int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/large", dir.path);
	autoclose int large = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(fstat(self, &status), 0);
	for (off_t at = 0; at < status.st_size;) {
		ssize_t count = copy_file_range(
		        self, NULL, large, NULL, (size_t)(status.st_size - at), 0);
		if (count < 0 && (errno == EXDEV || errno == EINVAL))
			count = sendfile(large, self, &at, (size_t)(status.st_size - at));
		else
			at += count;
		assert_true(count > 0);
	}
	assert_int_equal(ftruncate(large, (off_t)(4 * quick.memory_bytes)), 0);
	CHECK_OK(symbolizer_extract(large, quick, &table));
	CHECK_OK(symbols_open(table.bytes, table.count, &symbols));
	assert_true(symbols_count(symbols) > 0);
}

static void a_table_past_the_limit_is_refused(void **state)
{
	AUTO_BUF table = { 0 };
	struct symbolizer_limits small = symbolizer_limits_default;
	autoclose int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	small.result_bytes = 100;
	assert_int_equal(symbolizer_extract(self, small, &table), -E2BIG);
	assert_int_equal(table.count, 0);
}

static void the_vdso_is_read_in_place(void **state)
{
	AUTO_BUF table = { 0 };
	AUTO(symbols) symbols = NULL;
	char text[BUILD_ID_TEXT_MAX];
	const void *image;
	size_t bytes;

	CHECK_OK(build_id_of_vdso(text, &image, &bytes));
	CHECK_OK(elf_symbols_extract(image, bytes, &table));
	CHECK_OK(symbols_open(table.bytes, table.count, &symbols));
	assert_true(symbols_count(symbols) >= 4);
}

/* ---- children that misbehave ---- */

static int work_opens_a_file(const void *image, size_t bytes, struct buf *to)
{
	int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);

	buf_put_u8(to, fd >= 0);
	return 0;
}

static int work_opens_a_socket(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
	return 0;
}

static int work_forks(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, fork() >= 0);
	return 0;
}

static int work_kills_its_parent(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, kill(getppid(), SIGKILL) == 0);
	return 0;
}

static int work_runs_new_code(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
	                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return 0;
}

static int work_writes_to_standard_error(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, write(2, "", 0) == 0);
	return 0;
}

static int work_reads_the_file_again(const void *image, size_t bytes, struct buf *to)
{
	char byte;

	buf_put_u8(to, pread(3, &byte, 1, 0) == 1);
	return 0;
}

static int work_crashes(const void *image, size_t bytes, struct buf *to)
{
	__builtin_trap();
}

static int work_never_ends(const void *image, size_t bytes, struct buf *to)
{
	for (volatile uint64_t i = 0; i < UINT64_MAX; i++)
		;
	return 0;
}

static int work_says_something_odd(const void *image, size_t bytes, struct buf *to)
{
	return -EPERM;
}

/* A page that the test and the child share, to take turns. */
static struct {
	atomic_bool mapped;
	atomic_bool cut;
} * turns;

static int work_reads_past_a_cut_file(const void *image, size_t bytes, struct buf *to)
{
	turns->mapped = true;
	while (!turns->cut)
		;
	buf_put_u8(to, ((const volatile uint8_t *)image)[bytes - 1]);
	return 0;
}

static void *cut_file(void *path)
{
	while (!turns->mapped)
		sched_yield();
	assert_int_equal(truncate(path, 1), 0);
	turns->cut = true;
	return NULL;
}

static int work_wants_all_memory(const void *image, size_t bytes, struct buf *to)
{
	buf_put_u8(to, mmap(NULL, UINT64_C(8) << 30, PROT_READ | PROT_WRITE,
	                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
	return 0;
}

static int work_succeeds(const void *image, size_t bytes, struct buf *to)
{
	buf_put(to, "well", 4);
	return 0;
}

static int run(symbolizer_work *work, struct buf *to)
{
	autoclose int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	symbolizer_stop();
	symbolizer_set_work(work);
	int result = symbolizer_extract(self, quick, to);
	symbolizer_stop();
	symbolizer_set_work(NULL);
	return result;
}

static void work_that_behaves_is_heard(void **state)
{
	AUTO_BUF table = { 0 };

	CHECK_OK(run(work_succeeds, &table));
	assert_int_equal(table.count, 4);
	assert_memory_equal(table.bytes, "well", 4);
}

static void a_child_that_misbehaves_is_killed(void **state)
{
	static symbolizer_work *const works[] = { work_opens_a_file, work_opens_a_socket,
		work_forks, work_kills_its_parent, work_runs_new_code,
		work_writes_to_standard_error, work_reads_the_file_again, work_crashes,
		work_says_something_odd };

	for (size_t i = 0; i < COUNT_OF(works); i++) {
		AUTO_BUF table = { 0 };

		int result = run(works[i], &table);
		if (result != -ECHILD)
			fail_msg("work %zu: %d", i, result);
		assert_int_equal(table.count, 0);
	}
}

static void a_child_that_never_ends_is_killed(void **state)
{
	AUTO_BUF table = { 0 };

	assert_int_equal(run(work_never_ends, &table), -ECHILD);
}

static void memory_is_bounded(void **state)
{
	AUTO_BUF table = { 0 };

	if (SYMBOLIZER_SANITIZED)
		skip(); /* a sanitizer needs more address space than any bound */
	CHECK_OK(run(work_wants_all_memory, &table));
	assert_int_equal(table.bytes[0], 0);
}

static void a_file_cut_under_the_child_kills_only_the_child(void **state)
{
	TEST_DIR(dir);
	AUTO_BUF table = { 0 };
	char path[300];
	char text[2 * 4096] = "";
	pthread_t cutter;

	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, text, sizeof(text));
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(turns, MAP_FAILED);

	symbolizer_stop();
	symbolizer_set_work(work_reads_past_a_cut_file);
	CHECK_OK(symbolizer_start());
	assert_int_equal(pthread_create(&cutter, NULL, cut_file, path), 0);
	int result = symbolizer_extract(fd, quick, &table);
	pthread_join(cutter, NULL);
	symbolizer_stop();
	symbolizer_set_work(NULL);
	munmap(turns, 4096);
	assert_int_equal(result, -ECHILD);
}

static void after_a_dead_child_the_next_file_is_read(void **state)
{
	AUTO_BUF table = { 0 };

	assert_int_equal(run(work_crashes, &table), -ECHILD);
	a_program_with_symtab_is_named(state);
	/* Twice by the same helper. */
	a_program_with_symtab_is_named(state);
}

static int stop_helper(void **state)
{
	symbolizer_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_with_symtab_is_named),
		cmocka_unit_test(a_stripped_library_is_named_by_dynsym),
		cmocka_unit_test(a_file_in_another_process_s_words_is_refused),
		cmocka_unit_test(a_cut_file_is_no_reason_to_die),
		cmocka_unit_test(a_file_without_functions_has_no_table),
		cmocka_unit_test(huge_counts_take_no_memory),
		cmocka_unit_test(only_regular_files_of_bounded_size_are_read),
		cmocka_unit_test(a_file_may_be_larger_than_the_memory),
		cmocka_unit_test(a_table_past_the_limit_is_refused),
		cmocka_unit_test(the_vdso_is_read_in_place),
		cmocka_unit_test(work_that_behaves_is_heard),
		cmocka_unit_test(a_child_that_misbehaves_is_killed),
		cmocka_unit_test(a_child_that_never_ends_is_killed),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(a_file_cut_under_the_child_kills_only_the_child),
		cmocka_unit_test(after_a_dead_child_the_next_file_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, stop_helper);
}

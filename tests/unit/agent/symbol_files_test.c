/*
 * Files as processes map them: found again by build-id while they exist, after they were deleted,
 * and in another root; and never anything that is not a file, or lies outside of the process's
 * root.
 */

#include "tests/lib/test.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/symbol_files.h"

/* The smallest ELF file with a build-id of eight equal bytes. */
static void write_elf(const char *path, uint8_t id)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		Elf64_Nhdr note;
		char name[4];
		uint8_t id[8];
	} file = {
		.header = {
			.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			        EV_CURRENT },
			.e_type = ET_DYN,
			.e_machine = EM_X86_64,
			.e_version = EV_CURRENT,
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_NOTE,
			.p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
			.p_filesz = sizeof(Elf64_Nhdr) + 12,
			.p_memsz = sizeof(Elf64_Nhdr) + 12,
			.p_align = 4,
		},
		.note = { .n_namesz = 4, .n_descsz = 8, .n_type = NT_GNU_BUILD_ID },
		.name = "GNU",
	};

	memset(file.id, id, sizeof(file.id));
	test_file_write(path, &file, sizeof(file));
}

static struct symbol_file *see_id(
        struct symbol_files *files, const char *path, uint8_t id, int32_t pid)
{
	uint8_t build_id[8];

	memset(build_id, id, sizeof(build_id));
	struct symbol_file_sighting sighting = {
		.path = path,
		.build_id = build_id,
		.build_id_bytes = sizeof(build_id),
		.pid = pid,
	};
	return symbol_files_see(files, &sighting);
}

static void check_opens(struct symbol_files *files, const char *build_id)
{
	char found[BUILD_ID_TEXT_MAX];
	autoclose int fd = symbol_files_open(files, build_id);

	assert_true(fd >= 0);
	CHECK_OK(build_id_of_fd(fd, found));
	assert_string_equal(found, build_id);
}

static void a_file_is_found_by_its_build_id_also_after_it_was_deleted(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	char path[300];

	snprintf(path, sizeof(path), "%s/app", dir.path);
	write_elf(path, 0xab);
	struct symbol_file *file = see_id(files, path, 0xab, getpid());
	assert_non_null(file);
	assert_string_equal(symbol_file_name(file), "app");
	assert_string_equal(symbol_file_build_id(files, file), "abababababababab");
	check_opens(files, "abababababababab");
	assert_int_equal(unlink(path), 0);
	check_opens(files, "abababababababab");
	assert_int_equal(symbol_files_open(files, "cdcdcdcdcdcdcdcd"), -ENOENT);
	assert_int_equal(symbol_files_open(files, ""), -ENOENT);
}

static void the_same_file_seen_twice_is_one(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	char path[300];
	char deleted[320];

	snprintf(path, sizeof(path), "%s/app", dir.path);
	snprintf(deleted, sizeof(deleted), "%s (deleted)", path);
	write_elf(path, 1);
	struct symbol_file *file = see_id(files, path, 1, getpid());
	assert_ptr_equal(see_id(files, path, 1, 1), file);
	assert_ptr_equal(see_id(files, deleted, 1, 1), file);
	assert_ptr_not_equal(see_id(files, path, 2, 1), file);
	assert_int_equal(symbol_files_count(files), 2);
}

static void a_file_without_a_told_build_id_is_read(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	char path[300];
	struct stat stat_before;

	snprintf(path, sizeof(path), "%s/app", dir.path);
	write_elf(path, 0x11);
	assert_int_equal(stat(path, &stat_before), 0);
	struct symbol_file_sighting sighting = {
		.path = path, .inode = stat_before.st_ino, .pid = getpid()
	};
	struct symbol_file *file = symbol_files_see(files, &sighting);
	assert_string_equal(symbol_file_build_id(files, file), "1111111111111111");

	/* Another file under the same path and, by chance, the same inode: another build-id. */
	struct timespec later[2] = { { .tv_sec = 5 }, { .tv_sec = 5 } };
	write_elf(path, 0x22);
	assert_int_equal(utimensat(AT_FDCWD, path, later, 0), 0);
	struct symbol_file *rebuilt = symbol_files_see(files, &sighting);
	assert_ptr_not_equal(rebuilt, file);
	assert_string_equal(symbol_file_build_id(files, rebuilt), "2222222222222222");
}

static void a_file_of_another_root_is_not_looked_for_in_ours(void **state)
{
	TEST_DIR(proc);
	AUTO(symbol_files) files = symbol_files_new(
	        (struct symbol_files_options){ .proc_path = proc.path });
	char path[300];

	/* Process 7 lives in a root of its own, where /bin/app is another file. */
	snprintf(path, sizeof(path), "%s/7", proc.path);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/7/root", proc.path);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/7/root/app", proc.path);
	write_elf(path, 0x77);
	assert_non_null(see_id(files, "/app", 0x77, 7));
	check_opens(files, "7777777777777777");

	/* A link that leads out of that root leads nowhere. */
	snprintf(path, sizeof(path), "%s/7/root/escape", proc.path);
	assert_int_equal(symlink("/proc/self/exe", path), 0);
	struct symbol_file_sighting sighting = { .path = "/escape", .pid = 7 };
	struct symbol_file *escape = symbol_files_see(files, &sighting);
	assert_non_null(escape);
	assert_string_equal(symbol_file_build_id(files, escape), "");
}

static void what_could_block_is_never_opened(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	char path[300];

	snprintf(path, sizeof(path), "%s/fifo", dir.path);
	assert_int_equal(mkfifo(path, 0600), 0);
	struct symbol_file_sighting sighting = { .path = path, .pid = getpid() };
	struct symbol_file *file = symbol_files_see(files, &sighting);
	assert_non_null(file);
	assert_string_equal(symbol_file_build_id(files, file), "");
}

static void descriptors_are_bounded_and_the_path_does_instead(void **state)
{
	TEST_DIR(dir);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ .open_max = 2 });
	char path[300];

	for (uint8_t at = 1; at <= 5; at++) {
		snprintf(path, sizeof(path), "%s/app%u", dir.path, at);
		write_elf(path, at);
		assert_non_null(see_id(files, path, at, getpid()));
	}
	check_opens(files, "0101010101010101");
	check_opens(files, "0505050505050505");

	/* A path that has become another file is not believed. */
	snprintf(path, sizeof(path), "%s/app1", dir.path);
	write_elf(path, 9);
	assert_int_equal(symbol_files_open(files, "0101010101010101"), -ENOENT);
}

static void a_full_table_forgets_what_nobody_uses_and_refuses_beyond(void **state)
{
	AUTO(symbol_files) files = symbol_files_new(
	        (struct symbol_files_options){ .files_max = 2 });
	struct symbol_file *one = see_id(files, "/nonexistent/1", 1, 1);
	struct symbol_file *two = see_id(files, "/nonexistent/2", 2, 1);

	assert_non_null(one);
	assert_non_null(two);
	assert_null(see_id(files, "/nonexistent/3", 3, 1));
	symbol_file_unuse(one);
	assert_non_null(see_id(files, "/nonexistent/3", 3, 1));
	assert_int_equal(symbol_files_count(files), 2);
}

/* Two MiB that begin like a program and have no notes; `mark` makes each another one. */
static void write_large(const char *path, uint8_t mark)
{
	static uint8_t bytes[2u << 20] = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64,
		ELFDATA2LSB, EV_CURRENT };

	bytes[1000] = mark;
	test_file_write(path, bytes, sizeof(bytes));
}

/* Whoever maps sparse files of any size would else keep the agent reading holes for ever. */
static void content_is_hashed_no_faster_than_allowed(void **state)
{
	TEST_DIR(dir);
	struct clock_virtual clock;
	char path[300];
	struct symbol_file *seen[3];

	clock_virtual_init(&clock, 0);
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){
	        .hash_bytes_max = 3u << 20, .hash_bytes_s = 1u << 20, .clock = &clock.clock });
	for (uint32_t at = 0; at < COUNT_OF(seen); at++) {
		snprintf(path, sizeof(path), "%s/large%u", dir.path, at);
		write_large(path, (uint8_t)at);
		struct symbol_file_sighting sighting = { .path = path, .pid = getpid() };
		seen[at] = symbol_files_see(files, &sighting);
		assert_non_null(seen[at]);
	}
	/* Three MiB allow one of two MiB and, with what is left, another one. */
	assert_memory_equal(symbol_file_build_id(files, seen[0]), "xxh3:", 5);
	assert_memory_equal(symbol_file_build_id(files, seen[1]), "xxh3:", 5);
	assert_string_equal(symbol_file_build_id(files, seen[2]), "");
	clock_virtual_advance(&clock, NS_PER_S / 2);
	assert_string_equal(symbol_file_build_id(files, seen[2]), "");
	clock_virtual_advance(&clock, NS_PER_S);
	assert_memory_equal(symbol_file_build_id(files, seen[2]), "xxh3:", 5);
	assert_string_not_equal(
	        symbol_file_build_id(files, seen[2]), symbol_file_build_id(files, seen[1]));
}

static void the_vdso_is_a_file_too(void **state)
{
	AUTO(symbol_files) files = symbol_files_new((struct symbol_files_options){ 0 });
	struct symbol_file_sighting sighting = { .path = "[vdso]", .pid = getpid() };
	struct symbol_file *file = symbol_files_see(files, &sighting);
	char magic[4];

	assert_string_equal(symbol_file_name(file), "[vdso]");
	const char *build_id = symbol_file_build_id(files, file);
	if (!build_id[0]) {
		print_message("the kernel maps no vdso here\n");
		skip();
	}
	autoclose int fd = symbol_files_open(files, build_id);
	assert_int_equal(pread(fd, magic, sizeof(magic), 0), sizeof(magic));
	assert_memory_equal(magic, ELFMAG, sizeof(magic));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_file_is_found_by_its_build_id_also_after_it_was_deleted),
		cmocka_unit_test(the_same_file_seen_twice_is_one),
		cmocka_unit_test(a_file_without_a_told_build_id_is_read),
		cmocka_unit_test(a_file_of_another_root_is_not_looked_for_in_ours),
		cmocka_unit_test(what_could_block_is_never_opened),
		cmocka_unit_test(descriptors_are_bounded_and_the_path_does_instead),
		cmocka_unit_test(a_full_table_forgets_what_nobody_uses_and_refuses_beyond),
		cmocka_unit_test(content_is_hashed_no_faster_than_allowed),
		cmocka_unit_test(the_vdso_is_a_file_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* build_id: ELF files made by hand, byte for byte, and those of this very process. */

#include "agent/build_id.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/auto.h"

#include "tests/lib/test.h"

static const uint8_t note[] = { 4, 0, 0, 0, 4, 0, 0, 0, NT_GNU_BUILD_ID, 0, 0, 0, 'G', 'N', 'U', 0,
	0xde, 0xad, 0xbe, 0xef };
/* A note of another kind in front, with an unpadded name. */
static const uint8_t two_notes[] = { 5, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 'o', 't', 'h', 'e', 0, 0,
	0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0, NT_GNU_BUILD_ID, 0, 0, 0, 'G', 'N', 'U', 0, 0x12,
	0x34 };

static int id_of_bytes(const void *bytes, size_t count, char *ret_text)
{
	TEST_DIR(dir);
	char path[300];

	snprintf(path, sizeof(path), "%s/file", dir.path);
	test_file_write(path, bytes, count);
	autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	return build_id_of_fd(fd, ret_text);
}

struct tiny_elf {
	Elf64_Ehdr elf;
	Elf64_Phdr segment;
	Elf64_Shdr section;
	uint8_t note[64];
};

static struct tiny_elf tiny_elf(const void *notes, size_t count)
{
	struct tiny_elf tiny = {
		.elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		        .e_phoff = offsetof(struct tiny_elf, segment),
		        .e_phnum = 1,
		        .e_phentsize = sizeof(Elf64_Phdr),
		        .e_shoff = offsetof(struct tiny_elf, section),
		        .e_shnum = 1,
		        .e_shentsize = sizeof(Elf64_Shdr) },
		.segment = { .p_type = PT_NOTE,
		        .p_offset = offsetof(struct tiny_elf, note),
		        .p_filesz = count,
		        .p_align = 4 },
		.section = { .sh_type = SHT_NOTE,
		        .sh_offset = offsetof(struct tiny_elf, note),
		        .sh_size = count,
		        .sh_addralign = 4 },
	};

	memcpy(tiny.note, notes, count);
	return tiny;
}

static void the_note_is_found_by_segment(void **state)
{
	struct tiny_elf tiny = tiny_elf(two_notes, sizeof(two_notes));
	char text[BUILD_ID_TEXT_MAX];

	tiny.section.sh_type = SHT_NULL;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), text));
	assert_string_equal(text, "1234");
}

static void the_note_is_found_by_section(void **state)
{
	struct tiny_elf tiny = tiny_elf(note, sizeof(note));
	char text[BUILD_ID_TEXT_MAX];

	tiny.segment.p_type = PT_LOAD;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), text));
	assert_string_equal(text, "deadbeef");
	tiny.elf.e_phnum = 0;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), text));
	assert_string_equal(text, "deadbeef");
}

static void a_32_bit_file_is_read_too(void **state)
{
	struct {
		Elf32_Ehdr elf;
		Elf32_Phdr segment;
		uint8_t note[sizeof(note)];
	} tiny = {
		.elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, EV_CURRENT },
		        .e_phoff = sizeof(Elf32_Ehdr),
		        .e_phnum = 1,
		        .e_phentsize = sizeof(Elf32_Phdr) },
		.segment = { .p_type = PT_NOTE,
		        .p_offset = sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
		        .p_filesz = sizeof(note) },
	};
	char text[BUILD_ID_TEXT_MAX];

	memcpy(tiny.note, note, sizeof(note));
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), text));
	assert_string_equal(text, "deadbeef");
}

static void a_file_without_a_note_is_named_by_its_content(void **state)
{
	struct tiny_elf tiny = tiny_elf(note, sizeof(note));
	char first[BUILD_ID_TEXT_MAX];
	char again[BUILD_ID_TEXT_MAX];

	tiny.segment.p_type = PT_LOAD;
	tiny.section.sh_type = SHT_PROGBITS;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), first));
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), again));
	assert_memory_equal(first, "xxh3:", 5);
	assert_int_equal(strlen(first), 5 + 32);
	assert_string_equal(first, again);

	tiny.note[63] ^= 1;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), again));
	assert_string_not_equal(first, again);
	tiny.note[63] ^= 1;
	CHECK_OK(id_of_bytes(&tiny, sizeof(tiny) - 1, again));
	assert_string_not_equal(first, again);
}

static void content_is_hashed_past_the_first_chunk(void **state)
{
	enum { BYTES = (2 << 20) + 17 };
	autofree uint8_t *bytes = calloc(1, BYTES);
	struct tiny_elf tiny = tiny_elf(note, 0);
	char texts[4][BUILD_ID_TEXT_MAX];

	assert_non_null(bytes);
	memcpy(bytes, &tiny, sizeof(tiny));
	CHECK_OK(id_of_bytes(bytes, BYTES, texts[0]));
	bytes[BYTES - 1] = 1;
	CHECK_OK(id_of_bytes(bytes, BYTES, texts[1]));
	bytes[1 << 20] = 1;
	CHECK_OK(id_of_bytes(bytes, BYTES, texts[2]));
	assert_string_not_equal(texts[0], texts[1]);
	assert_string_not_equal(texts[1], texts[2]);
	assert_string_not_equal(texts[0], texts[2]);
}

static void headers_that_lie_are_no_note(void **state)
{
	struct tiny_elf tiny;
	char text[BUILD_ID_TEXT_MAX];

	for (uint32_t lie = 0; lie < 10; lie++) {
		tiny = tiny_elf(note, sizeof(note));
		tiny.section.sh_type = SHT_NULL;
		switch (lie) {
		case 0:
			tiny.segment.p_offset = UINT64_MAX - 3;
			break;
		case 1:
			tiny.segment.p_filesz = UINT64_MAX;
			break;
		case 2:
			tiny.elf.e_phoff = UINT64_MAX - 8;
			break;
		case 3:
			tiny.elf.e_phnum = UINT16_MAX;
			tiny.segment.p_type = PT_NULL;
			break;
		case 4:
			tiny.elf.e_phentsize = 1;
			break;
		case 5:
			tiny.elf.e_phentsize = UINT16_MAX;
			break;
		case 6: /* a description longer than the note */
			tiny.note[4] = 200;
			break;
		case 7: /* longer than any id, though it is all there */
			tiny.note[4] = 40;
			tiny.segment.p_filesz = sizeof(tiny.note);
			break;
		case 8: /* a name of 4 GiB */
			memset(tiny.note, 0xff, 4);
			break;
		case 9: /* no id at all */
			tiny.note[4] = 0;
			break;
		}
		CHECK_OK(id_of_bytes(&tiny, sizeof(tiny), text));
		assert_memory_equal(text, "xxh3:", 5);
	}
}

/* A file may claim 65,535 segments of 64 KiB of notes: reading all takes minutes. */
static void notes_are_not_read_without_end(void **state)
{
	struct {
		Elf64_Ehdr elf;
		Elf64_Phdr segments[40];
		uint8_t note[sizeof(note)];
	} file = { .elf = { .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		           .e_phoff = sizeof(Elf64_Ehdr),
		           .e_phnum = 40,
		           .e_phentsize = sizeof(Elf64_Phdr) } };
	char text[BUILD_ID_TEXT_MAX];

	for (uint32_t at = 0; at < 40; at++)
		file.segments[at] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = 0, .p_filesz = 0 };
	memcpy(file.note, note, sizeof(note));
	Elf64_Phdr right = { .p_type = PT_NOTE,
		.p_offset = sizeof(Elf64_Ehdr) + 40 * sizeof(Elf64_Phdr),
		.p_filesz = sizeof(note) };
	file.segments[31] = right;
	CHECK_OK(id_of_bytes(&file, sizeof(file), text));
	assert_string_equal(text, "deadbeef");
	file.segments[31] = file.segments[0];
	file.segments[32] = right;
	CHECK_OK(id_of_bytes(&file, sizeof(file), text));
	assert_memory_equal(text, "xxh3:", 5);
}

static void what_is_no_elf_file_is_refused(void **state)
{
	char text[BUILD_ID_TEXT_MAX] = "untouched";

	assert_int_equal(id_of_bytes("", 0, text), -ENOEXEC);
	assert_int_equal(id_of_bytes("\x7f"
	                             "ELG",
	                         4, text),
	        -ENOEXEC);
	assert_int_equal(id_of_bytes("#!/bin/sh\n", 10, text), -ENOEXEC);
	assert_string_equal(text, "untouched");
}

static void only_regular_files_are_read(void **state)
{
	TEST_DIR(dir);
	char path[300];
	char text[BUILD_ID_TEXT_MAX];

	snprintf(path, sizeof(path), "%s/fifo", dir.path);
	CHECK_OK(mkfifo(path, 0600));
	autoclose int fifo = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	autoclose int folder = open(dir.path, O_RDONLY | O_CLOEXEC);
	autoclose int device = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	assert_int_equal(build_id_of_fd(fifo, text), -EINVAL);
	assert_int_equal(build_id_of_fd(folder, text), -EINVAL);
	assert_int_equal(build_id_of_fd(device, text), -EINVAL);
	assert_int_equal(build_id_of_fd(-1, text), -EBADF);
}

static void a_raw_id_becomes_lower_case_hex(void **state)
{
	static const uint8_t raw[] = { 0x00, 0x9f, 0xAB };
	uint8_t many[64] = { 0 };
	char text[BUILD_ID_TEXT_MAX];

	build_id_of_raw(raw, sizeof(raw), text);
	assert_string_equal(text, "009fab");
	build_id_of_raw(raw, 0, text);
	assert_string_equal(text, "");
	build_id_of_raw(many, sizeof(many), text);
	assert_int_equal(strlen(text), 64);
}

static void the_vdso_has_an_id(void **state)
{
	char text[BUILD_ID_TEXT_MAX] = "";
	const void *image = NULL;
	size_t bytes = 0;

	CHECK_OK(build_id_of_vdso(text, &image, &bytes));
	assert_int_equal(strlen(text), 40);
	assert_memory_equal(image, ELFMAG, SELFMAG);
	assert_true(bytes > 1024 && bytes < 1 << 16);
}

static int same_as_in_memory(struct dl_phdr_info *object, size_t bytes, void *checked)
{
	for (uint32_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
		char mapped[BUILD_ID_TEXT_MAX];
		char stored[BUILD_ID_TEXT_MAX] = "";

		if (segment->p_type != PT_NOTE || object->dlpi_name[0] != '/')
			continue;
		if (build_id_of_notes((const void *)(object->dlpi_addr + segment->p_vaddr),
		            segment->p_memsz, mapped) < 0)
			continue;
		autoclose int fd = open(object->dlpi_name, O_RDONLY | O_CLOEXEC);
		CHECK_OK(build_id_of_fd(fd, stored));
		assert_string_equal(mapped, stored);
		(*(int *)checked)++;
	}
	return 0;
}

static void file_and_mapping_have_the_same_id(void **state)
{
	int checked = 0;

	dl_iterate_phdr(same_as_in_memory, &checked);
	assert_true(checked >= 2); /* libc and cmocka */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_note_is_found_by_segment),
		cmocka_unit_test(the_note_is_found_by_section),
		cmocka_unit_test(a_32_bit_file_is_read_too),
		cmocka_unit_test(a_file_without_a_note_is_named_by_its_content),
		cmocka_unit_test(content_is_hashed_past_the_first_chunk),
		cmocka_unit_test(headers_that_lie_are_no_note),
		cmocka_unit_test(notes_are_not_read_without_end),
		cmocka_unit_test(what_is_no_elf_file_is_refused),
		cmocka_unit_test(only_regular_files_are_read),
		cmocka_unit_test(a_raw_id_becomes_lower_case_hex),
		cmocka_unit_test(the_vdso_has_an_id),
		cmocka_unit_test(file_and_mapping_have_the_same_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

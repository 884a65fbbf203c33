/*
 * Only headers and notes are read, by pread() into bounded memory: a mapping of a file that its
 * owner truncates would kill the agent. The content hash of a file without a note is
 *
 *	XXH3-128 of ( XXH3-128 of each MiB, end to end, then the file's size )
 *
 * over the whole file up to 64 MiB, and over its first and last 32 MiB beyond.
 *
 * A FUSE server can keep a reader waiting for ever, so such files are refused here; the kernel
 * reports their build-ids itself, and the symbolizer reads them in a child with a deadline.
 */

#include "agent/build_id.h"

#include <assert.h>
#include <elf.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/auto.h"
#include "core/hash.h"

#define BUILD_ID_RAW_BYTES_MAX  32
#define BUILD_ID_NOTE_BYTES_MAX (64u << 10)
#define BUILD_ID_NOTES_MAX      32 /* of a table of headers; programs have one to four */
#define BUILD_ID_CHUNK_BYTES    (1u << 20)
#define BUILD_ID_CHUNKS_MAX     64

static_assert(BUILD_ID_RAW_BYTES_MAX * 2 < BUILD_ID_TEXT_MAX, "a note's id fits");

/* The parts of an ELF header that lead to notes, of either class. */
struct build_id_elf {
	bool is_64;
	uint64_t headers_offset[2]; /* of program headers, of section headers */
	uint32_t headers_count[2];
	uint32_t header_bytes[2];
};

enum { BUILD_ID_SEGMENTS = 0, BUILD_ID_SECTIONS = 1 };

/* Reads all of it, or fails: a file that ends early is broken for us. */
static int build_id_read(int fd, uint64_t offset, void *to, size_t count)
{
	uint8_t *at = to;

	if (offset > INT64_MAX - count)
		return -EIO;
	while (count > 0) {
		ssize_t got = pread(fd, at, count, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			return -EIO;
		at += got;
		offset += (uint64_t)got;
		count -= (size_t)got;
	}
	return 0;
}

void build_id_of_raw(const uint8_t *bytes, size_t count, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	if (count > BUILD_ID_RAW_BYTES_MAX)
		count = BUILD_ID_RAW_BYTES_MAX;
	for (size_t i = 0; i < count; i++) {
		ret_text[2 * i] = digits[bytes[i] >> 4];
		ret_text[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_text[2 * count] = 0;
}

static int build_id_of_aligned_notes(
        const uint8_t *bytes, size_t count, size_t align, char *ret_text)
{
	size_t at = 0;

	while (count - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr note;

		memcpy(&note, bytes + at, sizeof(note));
		at += sizeof(note);

		uint64_t name_bytes = ((uint64_t)note.n_namesz + align - 1) &
		                      ~(uint64_t)(align - 1);
		uint64_t desc_bytes = ((uint64_t)note.n_descsz + align - 1) &
		                      ~(uint64_t)(align - 1);
		/* Padding is missing behind the last description of some files. */
		if (name_bytes > count - at || note.n_descsz > count - at - name_bytes)
			return -ENOENT;
		if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
		        !memcmp(bytes + at, "GNU", 4) && note.n_descsz > 0 &&
		        note.n_descsz <= BUILD_ID_RAW_BYTES_MAX) {
			build_id_of_raw(bytes + at + name_bytes, note.n_descsz, ret_text);
			return 0;
		}
		at += name_bytes;
		at = desc_bytes > count - at ? count : at + desc_bytes;
	}
	return -ENOENT;
}

int build_id_of_notes(const void *bytes, size_t count, char *ret_text)
{
	return build_id_of_aligned_notes(bytes, count, 4, ret_text);
}

static int build_id_open_elf(const uint8_t *header, size_t count, struct build_id_elf *ret_elf)
{
	if (count < EI_NIDENT || memcmp(header, ELFMAG, SELFMAG))
		return -ENOEXEC;
	if (header[EI_DATA] != ELFDATA2LSB)
		return -ENOENT;
	if (header[EI_CLASS] == ELFCLASS64 && count >= sizeof(Elf64_Ehdr)) {
		Elf64_Ehdr elf;

		memcpy(&elf, header, sizeof(elf));
		*ret_elf = (struct build_id_elf){
			.is_64 = true,
			.headers_offset = { elf.e_phoff, elf.e_shoff },
			.headers_count = { elf.e_phnum, elf.e_shnum },
			.header_bytes = { elf.e_phentsize, elf.e_shentsize },
		};
		return 0;
	}
	if (header[EI_CLASS] == ELFCLASS32 && count >= sizeof(Elf32_Ehdr)) {
		Elf32_Ehdr elf;

		memcpy(&elf, header, sizeof(elf));
		*ret_elf = (struct build_id_elf){
			.headers_offset = { elf.e_phoff, elf.e_shoff },
			.headers_count = { elf.e_phnum, elf.e_shnum },
			.header_bytes = { elf.e_phentsize, elf.e_shentsize },
		};
		return 0;
	}
	return -ENOENT;
}

struct build_id_span {
	uint64_t offset;
	uint64_t bytes;
	uint64_t align;
};

/* Is this header one of notes? */
static bool build_id_note_span(const struct build_id_elf *elf, int table, const uint8_t *header,
        struct build_id_span *ret_span)
{
	union {
		Elf64_Phdr segment_64;
		Elf32_Phdr segment_32;
		Elf64_Shdr section_64;
		Elf32_Shdr section_32;
	} is;

	memcpy(&is, header,
	        sizeof(is) < elf->header_bytes[table] ? sizeof(is) : elf->header_bytes[table]);
	if (table == BUILD_ID_SEGMENTS && elf->is_64) {
		*ret_span = (struct build_id_span){ is.segment_64.p_offset, is.segment_64.p_filesz,
			is.segment_64.p_align };
		return is.segment_64.p_type == PT_NOTE;
	}
	if (table == BUILD_ID_SEGMENTS) {
		*ret_span = (struct build_id_span){ is.segment_32.p_offset, is.segment_32.p_filesz,
			is.segment_32.p_align };
		return is.segment_32.p_type == PT_NOTE;
	}
	if (elf->is_64) {
		*ret_span = (struct build_id_span){ is.section_64.sh_offset, is.section_64.sh_size,
			is.section_64.sh_addralign };
		return is.section_64.sh_type == SHT_NOTE;
	}
	*ret_span = (struct build_id_span){ is.section_32.sh_offset, is.section_32.sh_size,
		is.section_32.sh_addralign };
	return is.section_32.sh_type == SHT_NOTE;
}

static size_t build_id_header_bytes(const struct build_id_elf *elf, int table)
{
	if (table == BUILD_ID_SEGMENTS)
		return elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	return elf->is_64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
}

static int build_id_of_span(int fd, struct build_id_span span, char *ret_text)
{
	size_t count = span.bytes < BUILD_ID_NOTE_BYTES_MAX ? (size_t)span.bytes
	                                                    : BUILD_ID_NOTE_BYTES_MAX;
	autofree uint8_t *notes = malloc(count ? count : 1);

	if (!notes)
		return -ENOMEM;
	if (build_id_read(fd, span.offset, notes, count) < 0)
		return -ENOENT;
	return build_id_of_aligned_notes(notes, count, span.align == 8 ? 8 : 4, ret_text);
}

/* -ENOENT when no header of the table leads to a build-id. */
static int build_id_of_table(int fd, const struct build_id_elf *elf, int table, char *ret_text)
{
	uint32_t step = elf->header_bytes[table];
	uint8_t headers[64 * 64];
	uint32_t per_read;
	uint32_t in_hand = 0;
	uint32_t notes = 0;

	if (step < build_id_header_bytes(elf, table) || step > 256)
		return -ENOENT;
	per_read = (uint32_t)sizeof(headers) / step;

	for (uint32_t i = 0; i < elf->headers_count[table]; i++) {
		struct build_id_span span;

		if (in_hand == 0) {
			in_hand = elf->headers_count[table] - i < per_read
			                  ? elf->headers_count[table] - i
			                  : per_read;
			uint64_t offset = elf->headers_offset[table] + (uint64_t)i * step;
			if (build_id_read(fd, offset, headers, (size_t)in_hand * step) < 0)
				return -ENOENT;
		}
		const uint8_t *header = headers + (size_t)(i % per_read) * step;
		in_hand--;
		if (!build_id_note_span(elf, table, header, &span))
			continue;
		if (notes++ == BUILD_ID_NOTES_MAX)
			break; /* No program: a trap for whoever reads them all. */

		int result = build_id_of_span(fd, span, ret_text);
		if (result != -ENOENT)
			return result;
	}
	return -ENOENT;
}

static int build_id_of_content(int fd, uint64_t size, char *ret_text)
{
	struct hash128 hashes[BUILD_ID_CHUNKS_MAX + 1];
	uint64_t chunks = (size + BUILD_ID_CHUNK_BYTES - 1) / BUILD_ID_CHUNK_BYTES;
	autofree uint8_t *chunk = malloc(BUILD_ID_CHUNK_BYTES);
	uint32_t count = 0;

	if (!chunk)
		return -ENOMEM;
	for (uint64_t i = 0; i < chunks; i++) {
		if (chunks > BUILD_ID_CHUNKS_MAX && i == BUILD_ID_CHUNKS_MAX / 2)
			i = chunks - BUILD_ID_CHUNKS_MAX / 2;

		uint64_t offset = i * BUILD_ID_CHUNK_BYTES;
		size_t bytes = size - offset < BUILD_ID_CHUNK_BYTES ? (size_t)(size - offset)
		                                                    : BUILD_ID_CHUNK_BYTES;
		int result = build_id_read(fd, offset, chunk, bytes);
		if (result < 0)
			return result;
		hashes[count++] = hash128_bytes(chunk, bytes);
	}
	hashes[count++] = (struct hash128){ .low = size };

	struct hash128 whole = hash128_bytes(hashes, count * sizeof(hashes[0]));
	snprintf(ret_text, BUILD_ID_TEXT_MAX, "xxh3:%016llx%016llx", (unsigned long long)whole.high,
	        (unsigned long long)whole.low);
	return 0;
}

int build_id_of_fd_notes(int fd, char *ret_text, uint64_t *ret_hash_bytes)
{
	const uint64_t hash_bytes_max = (uint64_t)BUILD_ID_CHUNKS_MAX * BUILD_ID_CHUNK_BYTES;
	struct stat status;
	struct statfs filesystem;
	struct build_id_elf elf;
	uint8_t header[sizeof(Elf64_Ehdr)];

	if (fstat(fd, &status) < 0 || fstatfs(fd, &filesystem) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (filesystem.f_type == FUSE_SUPER_MAGIC)
		return -EIO;

	size_t count = (uint64_t)status.st_size < sizeof(header) ? (size_t)status.st_size
	                                                         : sizeof(header);
	int result = build_id_read(fd, 0, header, count);
	if (result < 0)
		return result;

	result = build_id_open_elf(header, count, &elf);
	for (int table = BUILD_ID_SEGMENTS; result == 0 && table <= BUILD_ID_SECTIONS; table++) {
		result = build_id_of_table(fd, &elf, table, ret_text);
		if (result == 0)
			return 0;
		/* A segment table without an id says nothing about the sections. */
		if (result == -ENOENT && table == BUILD_ID_SEGMENTS)
			result = 0;
	}
	if (result == -ENOENT)
		*ret_hash_bytes = (uint64_t)status.st_size < hash_bytes_max
		                          ? (uint64_t)status.st_size
		                          : hash_bytes_max;
	return result;
}

int build_id_of_fd(int fd, char *ret_text)
{
	struct stat status;
	uint64_t hash_bytes;
	int result = build_id_of_fd_notes(fd, ret_text, &hash_bytes);

	if (result != -ENOENT)
		return result;
	if (fstat(fd, &status) < 0)
		return -errno;
	return build_id_of_content(fd, (uint64_t)status.st_size, ret_text);
}

int build_id_of_vdso(char *ret_text, const void **ret_image, size_t *ret_bytes)
{
	const uint8_t *image = (const uint8_t *)getauxval(AT_SYSINFO_EHDR);
	Elf64_Ehdr elf;
	uint64_t bytes = 0;
	int result = -ENOENT;

	static_assert(sizeof(void *) == 8, "the vdso of a 64-bit process");
	if (!image)
		return -ENOENT;

	/* The image comes from our own kernel, which we trust with more than this. */
	memcpy(&elf, image, sizeof(elf));
	bytes = elf.e_shoff + (uint64_t)elf.e_shnum * elf.e_shentsize;
	for (uint32_t i = 0; i < elf.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment, image + elf.e_phoff + (uint64_t)i * elf.e_phentsize,
		        sizeof(segment));
		if (segment.p_offset + segment.p_filesz > bytes)
			bytes = segment.p_offset + segment.p_filesz;
		if (segment.p_type == PT_NOTE && result == -ENOENT)
			result = build_id_of_notes(
			        image + segment.p_offset, segment.p_filesz, ret_text);
	}
	if (result < 0)
		return result;

	*ret_image = image;
	*ret_bytes = bytes;
	return 0;
}

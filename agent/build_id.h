#pragma once

/*
 * build_id names a file by its content: the GNU build-id note, or, where a file has none, a hash
 * of its bytes that is marked as such ("xxh3:...").
 *
 * Files belong to profiled processes and are hostile: only regular files are opened (no waiting on
 * a FIFO), every offset is checked, reads are bounded.
 */

#include <stddef.h>
#include <stdint.h>

#define BUILD_ID_TEXT_MAX 72 /* with the closing zero */

/* 0 with text in ret_text. -ENOEXEC: not an ELF file. -EINVAL: not a regular file. -EIO, -errno. */
int build_id_of_fd(int fd, char *ret_text);

/*
 * The same without the hash, which may take seconds: -ENOENT then means that the file has no note,
 * and ret_hash_bytes how much build_id_of_fd() would read of it.
 */
int build_id_of_fd_notes(int fd, char *ret_text, uint64_t *ret_hash_bytes);

/* Of a note section in memory (the vdso's, /sys/kernel/notes, PERF_RECORD_MMAP2's raw id). */
int build_id_of_notes(const void *bytes, size_t count, char *ret_text);
void build_id_of_raw(const uint8_t *bytes, size_t count, char *ret_text);

/* The vdso of this process, which is that of every 64-bit process: an image borrowed for ever. */
int build_id_of_vdso(char *ret_text, const void **ret_image, size_t *ret_bytes);

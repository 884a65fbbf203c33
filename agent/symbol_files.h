#pragma once

/*
 * symbol_files knows every file that code was mapped from: by which name and build-id frames call
 * it, and how it can still be opened when somebody asks for its symbols.
 *
 * A file is opened when it is first seen, because a minute later it may be deleted or its mount
 * namespace gone. The number of descriptors kept is bounded; beyond it the oldest is closed and the
 * path (of the process, then our own) must do. What is opened by path is believed only when its
 * build-id is right.
 *
 * Files are hostile: only regular ones are opened, and never by a name that could block or lead
 * elsewhere than into the process's own root.
 *
 * Files without users stay until the table is full. Any thread may ask symbol_files_open(); all
 * else belongs to one thread.
 */

#include <stdint.h>

#include "agent/build_id.h"
#include "core/auto.h"
#include "core/clock.h"

struct symbol_files;
struct symbol_file;

struct symbol_files_options {
	uint32_t files_max;      /* 0: 16384 */
	uint32_t open_max;       /* descriptors; 0: 256 */
	uint64_t hash_bytes_max; /* hashed at once; 0: 128 MiB */
	uint64_t hash_bytes_s;   /* hashed per second after that; 0: 8 MiB */
	const char *proc_path;   /* NULL: /proc */
	struct clock *clock;     /* NULL: the machine's */
};

struct symbol_files *symbol_files_new(struct symbol_files_options options);
void symbol_files_free(struct symbol_files *files);
DEFINE_AUTO(symbol_files);

/* A mapping as the kernel told it. */
struct symbol_file_sighting {
	const char *path;        /* as the process sees it */
	const uint8_t *build_id; /* NULL: not told */
	uint32_t build_id_bytes;
	uint64_t inode; /* 0: not told */
	uint64_t inode_generation;
	uint64_t device;    /* makedev() */
	int32_t pid;        /* whose root the path is in */
	int32_t parent_pid; /* tried when pid is gone: mostly the same root; 0: none */
	uint64_t start;     /* of the mapping, for /proc/PID/map_files; 0: not known */
	uint64_t end;
};

/* The file, with a use added. NULL: out of memory, or full of files in use. */
struct symbol_file *symbol_files_see(
        struct symbol_files *files, const struct symbol_file_sighting *sighting);
void symbol_file_use(struct symbol_file *file);
void symbol_file_unuse(struct symbol_file *file);

/* Base name: "libc.so.6", "[vdso]". */
const char *symbol_file_name(const struct symbol_file *file);

/*
 * The build-id, "xxh3:..." of the content where the file has none, or "" where nobody could read
 * it. Reads the file the first time if the kernel did not tell. "" also while as much as is allowed
 * was hashed already: a process may map sparse files of any size, and samples are not to wait for
 * them.
 */
const char *symbol_file_build_id(struct symbol_files *files, struct symbol_file *file);

/* A descriptor of a file with that build-id, for the caller to close; -ENOENT. The vdso is one. */
int symbol_files_open(struct symbol_files *files, const char *build_id);

uint32_t symbol_files_count(const struct symbol_files *files);

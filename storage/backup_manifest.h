#pragma once

/*
 * backup_manifest is what a backup says of itself: when it was made, what is in it, and of each of
 * its files the size and the hash. Text, so that a person can read it when nothing else can be.
 * docs/formats/backup.md has the lines.
 *
 * Readers take text that nobody vouches for: -EBADMSG; -EPROTONOSUPPORT: only newer readers
 * understand it. A name of a file that is accepted is a name, never a path.
 */

#include <stdbool.h>
#include <stdint.h>

#include "core/auto.h"
#include "core/buf.h"

#define BACKUP_MANIFEST_VERSION     1
#define BACKUP_MANIFEST_VERSION_MIN 1 /* the oldest reader that understands what we write */
#define BACKUP_MANIFEST_BYTES_MAX   (64u << 20)
#define BACKUP_FILES_MAX            (1u << 20)
#define BACKUP_NAME_BYTES_MAX       100
#define BACKUP_FILE_BYTES_MAX       255

struct backup_file {
	char name[BACKUP_FILE_BYTES_MAX + 1];
	uint64_t bytes;
	uint64_t hash; /* XXH3-64 of the contents */
};

/* What is in it, over all tenants. */
struct backup_contents {
	uint64_t created_ns; /* unix */
	uint32_t format;     /* of the store's folder, and the oldest reader of that */
	uint32_t format_min;
	uint64_t batches; /* acknowledged since the store began */
	uint64_t rows;
	uint64_t samples;
	uint64_t windows; /* sealed */
};

struct backup_manifest {
	char name[BACKUP_NAME_BYTES_MAX + 1];
	struct backup_contents contents;
	struct backup_file *files; /* by name, none twice */
	uint32_t files_count;
	uint32_t files_capacity;
};

void backup_manifest_fini(struct backup_manifest *manifest);
#define AUTO_BACKUP_MANIFEST __attribute__((cleanup(backup_manifest_fini))) struct backup_manifest

/* Letters, digits, '.', '_' and '-', not '.' first: no path, no option, nothing hidden. */
bool backup_name_is_valid(const char *name, uint32_t bytes_max);

/* -ENOMEM, -E2BIG. In any order: backup_manifest_put() sorts. */
int backup_manifest_add(struct backup_manifest *manifest, struct backup_file file);

/* Of all files. */
uint64_t backup_manifest_bytes(const struct backup_manifest *manifest);

void backup_manifest_put(struct backup_manifest *manifest, struct buf *to);
/* Into a zeroed one. -EBADMSG, -EPROTONOSUPPORT, -ENOMEM. */
int backup_manifest_get(const void *bytes, size_t count, struct backup_manifest *manifest);

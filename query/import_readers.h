#pragma once

/*
 * import_readers unpack and parse the files of an import, for threads that then send them: as many
 * as there are processors, because more would only slow each other down, and no more files ahead of
 * what is acknowledged than import_window says.
 *
 * They are nicer than those who send. Nine tenths of an import's work are unpacking and parsing; if
 * that had the same right to the processors, files which are parsed already, and an aggregator on
 * the same machine, would wait behind files which nobody waits for yet.
 */

#include "core/auto.h"
#include "query/profile_file.h"

struct import_readers;

/*
 * For so many files at once at most. Fewer threads than processors where no more can be started.
 * -ENOMEM; -errno: not even one.
 */
int import_readers_new(uint32_t files_max, struct import_readers **ret_readers);
/* Nobody may be waiting for a file. */
void import_readers_free(struct import_readers *readers);
DEFINE_AUTO(import_readers);

/*
 * As profile_file_read(), once it is its turn. From any thread. A file that was read is under way
 * until import_readers_acked() or import_readers_dropped().
 */
int import_readers_read(struct import_readers *readers, const char *path,
        const struct profile_file_options *options, struct profile_file *ret_file);

/* It was acknowledged, so long after it was handed over; or nothing comes of it. */
void import_readers_acked(struct import_readers *readers, uint64_t waited_ns);
void import_readers_dropped(struct import_readers *readers);

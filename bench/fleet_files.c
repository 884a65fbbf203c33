/*
 * The columns of index.tsv: file (without ending), start and duration in seconds, rows, samples,
 * then the labels by name. A sample is one period of the fleet: 20,408,163 ns of CPU.
 */

#include "bench/fleet_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "profile/folded.h"
#include "profile/pprof.h"

#define FILES_PATH_BYTES_MAX 4096
/* The index gets its name when all files are there: without one, a folder is not whole. */
#define FILES_INDEX      "index.tsv"
#define FILES_INDEX_PART "index.tsv.part"

struct files {
	struct fleet *fleet;
	struct fleet_files_options options;
	struct dict *dict;
	struct fleet_observer *observer;
	struct batch *batch;
	struct fleet_instance instance; /* of the batch */
	FILE *indexes[2];
	struct fleet_files_figures figures;
};

static int files_complain(const char *path, int result)
{
	fprintf(stderr, "bench.fleet: %s: %s\n", path, strerror(-result));
	return result;
}

static FILE *files_open(const char *folder, const char *name)
{
	char path[FILES_PATH_BYTES_MAX];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	FILE *file = fopen(path, "we");
	if (!file)
		(void)files_complain(path, -errno);
	return file;
}

static int files_put(const char *folder, uint64_t number, const char *ending, const struct buf *buf)
{
	char name[64];
	snprintf(name, sizeof(name), "%06" PRIu64 ".%s", number, ending);
	FILE *file = files_open(folder, name);
	if (!file)
		return -EIO;
	size_t written = fwrite(buf->bytes, 1, buf->count, file);
	int r = written == buf->count ? 0 : -errno;
	if (fclose(file) != 0 && r == 0)
		r = -errno;
	char path[FILES_PATH_BYTES_MAX];
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return r < 0 ? files_complain(path, r) : 0;
}

static void files_index(struct files *files, FILE *index)
{
	struct fleet_labels labels = fleet_labels_of(&files->instance);
	fprintf(index, "%06" PRIu64 "\t%" PRIu64 "\t%" PRIu64 "\t%u\t%" PRIu64,
	        files->figures.files, files->batch->start_ns / NS_PER_S,
	        files->batch->duration_ns / NS_PER_S, files->batch->rows_count,
	        batch_samples(files->batch));
	for (uint32_t i = 0; i < FLEET_LABELS; i++)
		fprintf(index, "\t%s", labels.values[i]);
	fprintf(index, "\n");
}

/* What was collected becomes a file of each form. */
static int files_flush(struct files *files)
{
	struct batch *batch = files->batch;
	if (batch->rows_count == 0)
		return 0;
	int r = batch_settle(batch);
	AUTO_BUF pprof = { 0 };
	AUTO_BUF folded = { 0 };
	uint64_t replaced = 0;
	if (r == 0 && files->options.pprof)
		r = pprof_write(batch, frame_name_plain, &pprof);
	if (r == 0 && files->options.folded)
		r = folded_write(batch, frame_name_plain, &folded, &replaced);
	if (r < 0)
		return files_complain("a profile", r);
	if (files->options.pprof)
		r = files_put(files->options.pprof, files->figures.files, "pb.gz", &pprof);
	if (r == 0 && files->options.folded)
		r = files_put(files->options.folded, files->figures.files, "folded", &folded);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < 2; i++)
		if (files->indexes[i])
			files_index(files, files->indexes[i]);
	files->figures.files++;
	files->figures.rows += batch->rows_count;
	files->figures.samples += batch_samples(batch);
	batch_reset(batch);
	/* No file may hold another's names. */
	dict_reset(files->dict);
	fleet_observer_reset(files->observer);
	return 0;
}

static int files_add(struct files *files, const struct fleet_report *report)
{
	const struct fleet_instance *instance = &report->instance;
	bool same = files->options.whole_instances && files->instance.slot == instance->slot &&
	            files->instance.number == instance->number;
	int r = same ? 0 : files_flush(files);
	if (r < 0)
		return r;
	files->instance = *instance;
	r = fleet_observer_put(files->observer, report, files->batch);
	files->batch->duration_ns = report->start_ns + FLEET_REPORT_NS - files->batch->start_ns;
	return r < 0 ? files_complain("a report", r) : 0;
}

static int files_run(struct files *files)
{
	int r = 0;
	for (uint32_t slot = 0; slot < fleet_slots(files->fleet); slot++) {
		for (uint64_t tick = 0; tick < fleet_ticks(files->fleet); tick++) {
			struct fleet_report report;
			if (files->figures.files >= files->options.files_max)
				return 0;
			r = fleet_report(files->fleet, tick, slot, &report);
			r = r < 0 ? files_complain("a report", r) : files_add(files, &report);
			if (r < 0)
				return r;
		}
	}
	return files_flush(files);
}

static int files_begin(struct files *files, const char *folder, uint32_t index)
{
	if (!folder)
		return 0;
	if (mkdir(folder, 0777) < 0 && errno != EEXIST)
		return files_complain(folder, -errno);
	char path[FILES_PATH_BYTES_MAX];
	snprintf(path, sizeof(path), "%s/" FILES_INDEX, folder);
	if (unlink(path) < 0 && errno != ENOENT)
		return files_complain(path, -errno);
	files->indexes[index] = files_open(folder, FILES_INDEX_PART);
	if (!files->indexes[index])
		return -EIO;
	fprintf(files->indexes[index], "file\tstart_s\tduration_s\trows\tsamples");
	for (uint32_t i = 0; i < FLEET_LABELS; i++)
		fprintf(files->indexes[index], "\t%s", fleet_label_names[i]);
	fprintf(files->indexes[index], "\n");
	return 0;
}

static int files_end(const char *folder, FILE *index, bool is_whole)
{
	char part[FILES_PATH_BYTES_MAX], path[FILES_PATH_BYTES_MAX];
	if (!index)
		return 0;
	snprintf(part, sizeof(part), "%s/" FILES_INDEX_PART, folder);
	snprintf(path, sizeof(path), "%s/" FILES_INDEX, folder);
	bool is_written = !ferror(index);
	if (fclose(index) != 0 || !is_written)
		return is_whole ? files_complain(part, -errno) : -EIO;
	if (is_whole && rename(part, path) < 0)
		return files_complain(path, -errno);
	return 0;
}

int fleet_files_write(struct fleet *fleet, struct fleet_files_options options,
        struct fleet_files_figures *ret_figures)
{
	AUTO(dict) dict = dict_new(dict_limits_default);
	AUTO(fleet_observer) observer = dict ? fleet_observer_new(fleet, dict, FLEET_NAMES) : NULL;
	AUTO(batch) batch = dict ? batch_new(dict) : NULL;
	struct files files = { .fleet = fleet,
		.options = options,
		.dict = dict,
		.observer = observer,
		.batch = batch };
	int r = observer && batch ? 0 : files_complain("start", -ENOMEM);
	if (r == 0)
		r = files_begin(&files, options.pprof, 0);
	/* Both forms may lie in one folder, which then has one index. */
	bool is_shared = options.pprof && options.folded &&
	                 strcmp(options.pprof, options.folded) == 0;
	if (r == 0 && !is_shared)
		r = files_begin(&files, options.folded, 1);
	if (r == 0)
		r = files_run(&files);
	const char *folders[2] = { options.pprof, options.folded };
	for (uint32_t i = 0; i < 2; i++) {
		int ended = files_end(folders[i], files.indexes[i], r == 0);
		r = r < 0 ? r : ended;
	}
	if (r == 0)
		*ret_figures = files.figures;
	return r;
}

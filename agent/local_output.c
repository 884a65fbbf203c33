/*
 * add() merges intervals into one batch; finish() names it into a second one, and then writes a
 * third in which the process stands where the format has a place for it.
 *
 * The file is written under a name of its own and renamed at the end, so that whoever waits for it
 * never sees a half. It is made at open: a folder that cannot be written is better known before ten
 * seconds of sampling than after.
 */

#include "agent/local_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "agent/symbolizer.h"
#include "core/log.h"
#include "profile/folded.h"
#include "profile/naming.h"
#include "profile/pprof.h"

#define LOCAL_OUTPUT_PREFIX      "sample."
#define LOCAL_OUTPUT_LABEL_BYTES 128

enum local_format { LOCAL_FOLDED, LOCAL_PPROF };

struct local_symbols {
	char *build_id;
	struct symbols *symbols; /* NULL: there are none */
	struct local_symbols *next;
};

struct local_output {
	struct naming_source source; /* first, so that find() gets back to us */
	struct symbol_files *files;
	struct dict *dict;
	struct batch *batch;
	struct local_symbols *symbols;
	enum local_format format;
	char *path;
	char *partial_path;
	int fd;
};

static const struct symbolizer_limits local_output_limits = {
	.memory_bytes = UINT64_C(1) << 30,
	.cpu_s = 10,
	.result_bytes = UINT64_C(64) << 20,
};

static struct symbols *local_output_extract(struct local_output *output, const char *build_id)
{
	AUTO_BUF packed = { 0 };
	struct symbols *symbols;
	autoclose int fd = symbol_files_open(output->files, build_id);

	if (fd < 0)
		return NULL;
	int result = symbolizer_extract(fd, local_output_limits, &packed);
	if (result == 0)
		result = symbols_open(packed.bytes, packed.count, &symbols);
	if (result == 0)
		return symbols;
	log_debug("no-symbols", "build-id %s: %s", build_id, strerror(-result));
	return NULL;
}

static const struct symbols *local_output_find(struct naming_source *source, const char *build_id)
{
	struct local_output *output = (struct local_output *)source;

	for (struct local_symbols *at = output->symbols; at; at = at->next) {
		if (strcmp(at->build_id, build_id) == 0)
			return at->symbols;
	}
	struct local_symbols *added = calloc(1, sizeof(*added));
	char *name = strdup(build_id);
	if (!added || !name) {
		free(added);
		free(name);
		return NULL;
	}
	added->build_id = name;
	added->symbols = local_output_extract(output, build_id);
	added->next = output->symbols;
	output->symbols = added;
	return added->symbols;
}

static bool local_output_ends_with(const char *path, const char *ending)
{
	size_t count = strlen(path);
	size_t ending_count = strlen(ending);

	return count > ending_count && strcmp(path + count - ending_count, ending) == 0;
}

static int local_output_format(const char *path, enum local_format *ret_format)
{
	if (local_output_ends_with(path, ".folded"))
		*ret_format = LOCAL_FOLDED;
	else if (local_output_ends_with(path, ".pprof") || local_output_ends_with(path, ".pb.gz"))
		*ret_format = LOCAL_PPROF;
	else
		return -EINVAL;
	return 0;
}

int local_output_open(const char *path, struct symbol_files *files,
        struct local_output **ret_output, char *ret_error, size_t error_bytes)
{
	AUTO(local_output) output = calloc(1, sizeof(*output));

	if (!output)
		return -ENOMEM;
	output->fd = -1;
	output->source.find = local_output_find;
	output->files = files;
	if (local_output_format(path, &output->format) < 0) {
		snprintf(ret_error, error_bytes,
		        "%s: the format is not known from its name; end it in .folded, .pprof or "
		        ".pb.gz",
		        path);
		return -EINVAL;
	}
	output->path = strdup(path);
	if (!output->path || asprintf(&output->partial_path, "%s.partial", path) < 0)
		return -ENOMEM;
	output->dict = dict_new(dict_limits_default);
	if (!output->dict)
		return -ENOMEM;
	output->batch = batch_new(output->dict);
	if (!output->batch)
		return -ENOMEM;
	output->fd = open(output->partial_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (output->fd < 0) {
		int error = errno;
		snprintf(ret_error, error_bytes, "%s: %s", output->partial_path, strerror(error));
		return -error;
	}
	*ret_output = TAKE(output);
	return 0;
}

void local_output_free(struct local_output *output)
{
	if (!output)
		return;
	if (output->fd >= 0) {
		(void)close(output->fd);
		(void)unlink(output->partial_path);
	}
	while (output->symbols) {
		struct local_symbols *first = output->symbols;
		output->symbols = first->next;
		symbols_free(first->symbols);
		free(first->build_id);
		free(first);
	}
	batch_free(output->batch);
	dict_free(output->dict);
	free(output->path);
	free(output->partial_path);
	free(output);
}

int local_output_add(struct local_output *output, const struct batch *batch)
{
	return batch_merge(output->batch, batch);
}

const struct batch *local_output_batch(const struct local_output *output)
{
	return output->batch;
}

/* Labels of the series, called as pprof's reader and writer call labels of samples. */
static int local_output_sample_labels(const struct dict *from, uint32_t id, struct dict *to,
        struct label *ret_labels, uint32_t *ret_count)
{
	const struct series *series = dict_get_series(from, id);
	const struct label *labels = dict_get_labels(from, id);

	*ret_count = series->labels_count;
	for (uint32_t at = 0; at < series->labels_count; at++) {
		char name[LOCAL_OUTPUT_LABEL_BYTES];
		snprintf(name, sizeof(name), LOCAL_OUTPUT_PREFIX "%s",
		        dict_text(from, labels[at].name));
		int result = dict_cstring(to, name, &ret_labels[at].name);
		if (result == 0)
			result = dict_cstring(
			        to, dict_text(from, labels[at].value), &ret_labels[at].value);
		if (result < 0)
			return result;
	}
	return 0;
}

static int local_output_series(const struct local_output *output, const struct dict *from,
        uint32_t id, struct dict *to, uint32_t *ret_id)
{
	const struct series *old = dict_get_series(from, id);
	struct series series = { .period = old->period };
	struct label labels[DICT_LABELS_MAX];
	uint32_t count = 0;
	int result = dict_cstring(to, dict_text(from, old->type), &series.type);

	if (result == 0)
		result = dict_cstring(to, dict_text(from, old->unit), &series.unit);
	if (result == 0 && output->format == LOCAL_PPROF)
		result = local_output_sample_labels(from, id, to, labels, &count);
	return result < 0 ? result : dict_series(to, &series, labels, count, ret_id);
}

/* The frame that stands for the process, outermost. */
static int local_output_comm(
        const struct dict *from, uint32_t id, struct dict *to, uint32_t *ret_frame)
{
	struct frame frame = { .kind = FRAME_MANAGED };
	uint32_t name = dict_find_string(from, "comm", 4);
	uint32_t comm = name == ID_NONE ? 0 : dict_label_value(from, id, name);
	int result = dict_cstring(to, comm ? dict_text(from, comm) : "unknown", &frame.function);

	return result < 0 ? result : dict_frame(to, &frame, ret_frame);
}

/* Puts the frames of a named stack below `root` in the other dict. */
static int local_output_node(const struct dict *from, uint32_t node, struct dict_remap *remap,
        struct dict *to, uint32_t root, uint32_t *ret_node)
{
	uint32_t frames[512];
	uint32_t depth = 0;

	for (; node != DICT_NODE_ROOT && depth < COUNT_OF(frames); depth++) {
		struct node at = dict_get_node(from, node);
		int result = dict_remap_frame(remap, at.frame, &frames[depth]);
		if (result < 0)
			return result;
		node = at.parent;
	}
	*ret_node = root;
	while (depth > 0) {
		int result = dict_node(to, *ret_node, frames[--depth], ret_node);
		if (result < 0)
			return result;
	}
	return 0;
}

/* The batch as it is written: the process is a frame (folded) or labels of the sample (pprof). */
static int local_output_arrange(
        const struct local_output *output, const struct batch *named, struct batch *to)
{
	AUTO(dict_remap) remap = dict_remap_new(named->dict, to->dict);

	if (!remap)
		return -ENOMEM;
	for (uint32_t at = 0; at < named->rows_count; at++) {
		const struct row *row = &named->rows[at];
		uint32_t series;
		uint32_t node = DICT_NODE_ROOT;
		uint32_t comm;
		int result = local_output_series(
		        output, named->dict, row->series, to->dict, &series);

		if (result == 0 && output->format == LOCAL_FOLDED) {
			result = local_output_comm(named->dict, row->series, to->dict, &comm);
			if (result == 0)
				result = dict_node(to->dict, DICT_NODE_ROOT, comm, &node);
		}
		if (result == 0)
			result = local_output_node(
			        named->dict, row->node, remap, to->dict, node, &node);
		if (result == 0)
			result = batch_add_row(to, series, node, row->value);
		if (result < 0)
			return result;
	}
	to->start_ns = output->batch->start_ns;
	to->duration_ns = output->batch->duration_ns;
	return batch_settle(to);
}

static int local_output_encode(struct local_output *output, struct buf *bytes)
{
	AUTO(dict) named_dict = dict_new(dict_limits_default);
	AUTO(dict) dict = dict_new(dict_limits_default);
	uint64_t replaced = 0;

	if (!named_dict || !dict)
		return -ENOMEM;
	AUTO(batch) named = batch_new(named_dict);
	AUTO(batch) arranged = batch_new(dict);
	if (!named || !arranged)
		return -ENOMEM;

	enum naming_level level = output->format == LOCAL_FOLDED ? NAMING_FUNCTION : NAMING_ADDRESS;
	int result = naming_apply(output->batch, &output->source, level, named);
	if (result == 0)
		result = local_output_arrange(output, named, arranged);
	if (result < 0)
		return result;
	if (output->format == LOCAL_PPROF)
		return pprof_write(arranged, frame_name_plain, bytes);
	result = folded_write(arranged, frame_name_plain, bytes, &replaced);
	if (replaced > 0)
		log_warn("names-replaced",
		        "%llu characters that folded text cannot hold were replaced; .pprof keeps "
		        "them",
		        (unsigned long long)replaced);
	return result;
}

static int local_output_write(struct local_output *output, const struct buf *bytes)
{
	size_t written = 0;

	while (written < bytes->count) {
		ssize_t count = write(output->fd, bytes->bytes + written, bytes->count - written);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return -errno;
		written += (size_t)count;
	}
	if (close(TAKE_FD(output->fd)) < 0 || rename(output->partial_path, output->path) < 0)
		return -errno;
	return 0;
}

int local_output_finish(struct local_output *output, char *ret_error, size_t error_bytes)
{
	AUTO_BUF bytes = { 0 };
	int result = batch_settle(output->batch);

	if (result == 0)
		result = local_output_encode(output, &bytes);
	if (result == 0)
		result = local_output_write(output, &bytes);
	if (result < 0)
		snprintf(ret_error, error_bytes, "%s: %s", output->path, strerror(-result));
	return result;
}

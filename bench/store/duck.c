/* The few calls of DuckDB's C interface that are needed, by name: it is no dependency of the build.
 */

#include "bench/store/duck.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>

typedef void *duck_handle;

/* As duckdb.h has it; only its size and `internal` matter. */
struct duck_raw {
	uint64_t column_count, row_count, rows_changed;
	void *columns;
	char *error;
	void *internal;
};

struct duck {
	void *library;
	char folder[4096];
	duck_handle database, connection;
	int (*open)(const char *path, duck_handle *ret_database);
	void (*close)(duck_handle *database);
	int (*connect)(duck_handle database, duck_handle *ret_connection);
	void (*disconnect)(duck_handle *connection);
	int (*query)(duck_handle connection, const char *sql, struct duck_raw *ret_result);
	const char *(*result_error)(struct duck_raw *result);
	void (*destroy_result)(struct duck_raw *result);
	duck_handle (*fetch_chunk)(struct duck_raw result);
	uint64_t (*column_count)(struct duck_raw *result);
	uint64_t (*chunk_size)(duck_handle chunk);
	duck_handle (*chunk_vector)(duck_handle chunk, uint64_t column);
	void *(*vector_data)(duck_handle vector);
	void (*destroy_chunk)(duck_handle *chunk);
	uint64_t (*vector_size)(void);
	duck_handle (*create_type)(int type);
	void (*destroy_type)(duck_handle *type);
	duck_handle (*create_chunk)(duck_handle *types, uint64_t count);
	void (*chunk_reset)(duck_handle chunk);
	void (*chunk_set_size)(duck_handle chunk, uint64_t count);
	int (*appender_create)(
	        duck_handle connection, const char *schema, const char *table, duck_handle *ret);
	int (*append_chunk)(duck_handle appender, duck_handle chunk);
	int (*appender_flush)(duck_handle appender);
	int (*appender_destroy)(duck_handle *appender);
	const char *(*library_version)(void);
};

enum { DUCK_UTINYINT = 6, DUCK_UINTEGER = 8 };

#define DUCK_COLUMNS        5
#define DUCK_MEMORY         "8GB"
#define DUCK_COMMIT_REPORTS 64

static bool duck_find(struct duck *duck)
{
	const struct {
		const char *name;
		void *place;
	} calls[] = {
		{ "duckdb_open", &duck->open },
		{ "duckdb_close", &duck->close },
		{ "duckdb_connect", &duck->connect },
		{ "duckdb_disconnect", &duck->disconnect },
		{ "duckdb_query", &duck->query },
		{ "duckdb_result_error", &duck->result_error },
		{ "duckdb_destroy_result", &duck->destroy_result },
		{ "duckdb_fetch_chunk", &duck->fetch_chunk },
		{ "duckdb_column_count", &duck->column_count },
		{ "duckdb_data_chunk_get_size", &duck->chunk_size },
		{ "duckdb_data_chunk_get_vector", &duck->chunk_vector },
		{ "duckdb_vector_get_data", &duck->vector_data },
		{ "duckdb_destroy_data_chunk", &duck->destroy_chunk },
		{ "duckdb_vector_size", &duck->vector_size },
		{ "duckdb_create_logical_type", &duck->create_type },
		{ "duckdb_destroy_logical_type", &duck->destroy_type },
		{ "duckdb_create_data_chunk", &duck->create_chunk },
		{ "duckdb_data_chunk_reset", &duck->chunk_reset },
		{ "duckdb_data_chunk_set_size", &duck->chunk_set_size },
		{ "duckdb_appender_create", &duck->appender_create },
		{ "duckdb_append_data_chunk", &duck->append_chunk },
		{ "duckdb_appender_flush", &duck->appender_flush },
		{ "duckdb_appender_destroy", &duck->appender_destroy },
		{ "duckdb_library_version", &duck->library_version },
	};
	for (size_t i = 0; i < COUNT_OF(calls); i++) {
		void *call = dlsym(duck->library, calls[i].name);
		if (!call) {
			fprintf(stderr, "bench.store: %s: not in this DuckDB\n", calls[i].name);
			return false;
		}
		memcpy(calls[i].place, &call, sizeof(call));
	}
	return true;
}

static void duck_must(const char *what, int result)
{
	if (result == 0)
		return;
	fprintf(stderr, "bench.store: DuckDB: %s failed\n", what);
	exit(1);
}

static struct duck_raw duck_query(struct duck *duck, const char *sql)
{
	struct duck_raw result;
	if (duck->query(duck->connection, sql, &result) != 0) {
		const char *error = duck->result_error(&result);
		fprintf(stderr, "bench.store: DuckDB: %s: %s\n", sql, error ? error : "failed");
		exit(1);
	}
	return result;
}

double duck_do(struct duck *duck, const char *sql)
{
	double before = say_wall_s();
	struct duck_raw result = duck_query(duck, sql);
	duck->destroy_result(&result);
	return (say_wall_s() - before) * 1e3;
}

static void duck_file(const struct duck *duck, const char *name, char path[static 4200])
{
	snprintf(path, 4200, "%s/%s.duckdb", duck->folder, name);
}

static void duck_attach(struct duck *duck, const char *name)
{
	char path[4200];
	char sql[4300];
	duck_file(duck, name, path);
	snprintf(sql, sizeof(sql), "ATTACH '%s' AS %s", path, name);
	duck_do(duck, sql);
}

static void duck_begin(struct duck *duck)
{
	char path[4200];
	duck_file(duck, "main", path);
	duck_must("open", duck->open(path, &duck->database));
	duck_must("connect", duck->connect(duck->database, &duck->connection));
	duck_do(duck, "SET threads = 1");
	/* It would take four fifths of the machine, which has our rows too. */
	duck_do(duck, "SET memory_limit = '" DUCK_MEMORY "'");
	duck_attach(duck, "r");
	duck_attach(duck, "u");
}

static void duck_end(struct duck *duck)
{
	duck->disconnect(&duck->connection);
	duck->close(&duck->database);
}

struct duck *duck_open(const char *library, const char *folder)
{
	struct duck *duck = say_alloc(1, sizeof(*duck));
	snprintf(duck->folder, sizeof(duck->folder), "%s", folder);
	duck->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!duck->library || !duck_find(duck)) {
		if (!duck->library)
			fprintf(stderr, "bench.store: %s\n", dlerror());
		free(duck);
		return NULL;
	}
	duck_begin(duck);
	return duck;
}

void duck_free(struct duck *duck)
{
	if (!duck)
		return;
	duck_end(duck);
	free(duck);
}

const char *duck_version(const struct duck *duck)
{
	return duck->library_version();
}

void duck_make_cold(struct duck *duck)
{
	duck_end(duck);
	say_evict(duck->folder);
	duck_begin(duck);
}

/* ---- loading ---- */

struct duck_columns {
	duck_handle chunk;
	uint64_t count, room;
	uint8_t *service;
	uint32_t *series, *stack, *t, *value;
};

static void duck_columns_reset(struct duck *duck, struct duck_columns *columns)
{
	void *data[DUCK_COLUMNS];
	duck->chunk_reset(columns->chunk);
	for (uint64_t i = 0; i < DUCK_COLUMNS; i++)
		data[i] = duck->vector_data(duck->chunk_vector(columns->chunk, i));
	columns->count = 0;
	columns->service = data[0];
	columns->series = data[1];
	columns->stack = data[2];
	columns->t = data[3];
	columns->value = data[4];
}

static void duck_columns_init(struct duck *duck, struct duck_columns *columns)
{
	duck_handle types[DUCK_COLUMNS];
	for (int i = 0; i < DUCK_COLUMNS; i++)
		types[i] = duck->create_type(i == 0 ? DUCK_UTINYINT : DUCK_UINTEGER);
	columns->chunk = duck->create_chunk(types, DUCK_COLUMNS);
	columns->room = duck->vector_size();
	for (int i = 0; i < DUCK_COLUMNS; i++)
		duck->destroy_type(&types[i]);
	duck_columns_reset(duck, columns);
}

static void duck_columns_put(struct duck *duck, struct duck_columns *columns, duck_handle appender)
{
	duck->chunk_set_size(columns->chunk, columns->count);
	if (columns->count)
		duck_must("append", duck->append_chunk(appender, columns->chunk));
	duck_columns_reset(duck, columns);
}

static void duck_put_report(struct duck *duck, struct duck_columns *columns, duck_handle appender,
        const struct rows *rows, const struct rows_section *section,
        const struct rows_report *report)
{
	const uint32_t *stacks = rows->sessions[section->session].stacks;
	uint32_t t = (uint32_t)(section->tick * rows->tick_ns / 1000000000);
	for (uint32_t i = 0; i < report->count; i++) {
		const struct rows_row *row = &rows->rows[report->first + i];
		uint64_t at = columns->count++;
		columns->service[at] = (uint8_t)section->service;
		columns->series[at] = report->number;
		columns->stack[at] = stacks[row->node] - 1;
		columns->t[at] = t;
		columns->value[at] = row->value;
		if (columns->count == columns->room)
			duck_columns_put(duck, columns, appender);
	}
}

static void duck_append(struct duck *duck, const struct rows *rows)
{
	struct duck_columns columns = { 0 };
	duck_handle appender;
	uint32_t reports = 0;
	duck_do(duck, "CREATE TABLE staging (service UTINYINT, series UINTEGER, stack UINTEGER, "
	              "t UINTEGER, value UINTEGER)");
	duck_columns_init(duck, &columns);
	duck_must(
	        "appender", duck->appender_create(duck->connection, "main", "staging", &appender));
	for (uint32_t i = 0; i < rows->sections_count; i++) {
		const struct rows_section *section = &rows->sections[i];
		for (uint32_t n = 0; n < section->reports_count; n++)
			duck_put_report(duck, &columns, appender, rows, section,
			        &rows->reports[section->reports_first + n]);
		reports += section->reports_count;
		if (reports < DUCK_COMMIT_REPORTS && i + 1 < rows->sections_count)
			continue;
		/* A flush is a commit, and that a sync of its log. */
		duck_columns_put(duck, &columns, appender);
		duck_must("commit", duck->appender_flush(appender));
		reports = 0;
	}
	duck_must("appender", duck->appender_destroy(&appender));
	duck->destroy_chunk(&columns.chunk);
}

static void duck_put_series(struct duck *duck, const struct rows *rows)
{
	duck_do(duck, "CREATE TABLE series (series UINTEGER, service UTINYINT, version UTINYINT, "
	              "region UTINYINT, instance VARCHAR)");
	duck_do(duck, "BEGIN");
	for (uint32_t i = 0; i < rows->series_count; i++) {
		const struct fleet_instance *instance = &rows->series[i];
		char sql[256];
		snprintf(sql, sizeof(sql), "INSERT INTO series VALUES (%u, %u, %u, %u, '%s')", i,
		        instance->service, instance->version, instance->region, instance->name);
		duck_do(duck, sql);
	}
	duck_do(duck, "COMMIT");
}

static uint64_t duck_file_bytes(struct duck *duck, const char *name)
{
	char path[4200];
	uint64_t bytes = 0;
	duck_file(duck, name, path);
	FILE *file = fopen(path, "re");
	if (file && fseek(file, 0, SEEK_END) == 0)
		bytes = (uint64_t)ftell(file);
	if (file)
		(void)fclose(file);
	return bytes;
}

struct duck_load duck_load(struct duck *duck, const struct rows *rows, uint32_t rollup_s)
{
	char sql[512];
	struct duck_load load = { 0 };
	struct say_written before = say_written();
	double cpu = say_process_cpu_s();
	duck_append(duck, rows);
	load.append_cpu_s = say_process_cpu_s() - cpu;
	cpu = say_process_cpu_s();
	duck_do(duck, "CREATE TABLE r.rows AS SELECT * FROM staging "
	              "ORDER BY service, series, stack, t");
	duck_do(duck, "DROP TABLE staging");
	duck_do(duck, "CHECKPOINT r");
	load.sort_cpu_s = say_process_cpu_s() - cpu;
	snprintf(sql, sizeof(sql),
	        "CREATE TABLE u.rollup AS SELECT service, (t // %u)::USMALLINT AS w, stack, "
	        "sum(value)::UINTEGER AS value FROM r.rows GROUP BY ALL ORDER BY service, stack, w",
	        rollup_s);
	duck_do(duck, sql);
	duck_do(duck, "CHECKPOINT u");
	load.written = say_written().disk - before.disk;
	load.rows_bytes = duck_file_bytes(duck, "r");
	load.rollup_bytes = duck_file_bytes(duck, "u");
	duck_put_series(duck, rows);
	return load;
}

/* ---- asking ---- */

static void duck_take(
        struct duck *duck, duck_handle chunk, uint64_t columns, struct duck_result *result)
{
	uint64_t count = duck->chunk_size(chunk);
	const uint32_t *stack = duck->vector_data(duck->chunk_vector(chunk, 0));
	const uint64_t *values[2] = { duck->vector_data(duck->chunk_vector(chunk, 1)), NULL };
	if (columns > 2)
		values[1] = duck->vector_data(duck->chunk_vector(chunk, 2));
	for (uint64_t i = 0; i < count; i++) {
		for (uint64_t side = 0; side + 1 < columns; side++) {
			if (!values[side][i])
				continue;
			result->sum.stacks++;
			result->sum.value += values[side][i];
			result->sum.mix += rows_mix(stack[i], values[side][i]);
		}
	}
}

struct duck_result duck_ask(struct duck *duck, const char *sql)
{
	struct duck_result result = { 0 };
	double before = say_wall_s();
	struct duck_raw raw = duck_query(duck, sql);
	uint64_t columns = duck->column_count(&raw);
	for (duck_handle chunk = duck->fetch_chunk(raw); chunk; chunk = duck->fetch_chunk(raw)) {
		duck_take(duck, chunk, columns, &result);
		duck->destroy_chunk(&chunk);
	}
	duck->destroy_result(&raw);
	result.ms = (say_wall_s() - before) * 1e3;
	return result;
}

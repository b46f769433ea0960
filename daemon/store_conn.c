/* store_conn.c: opening a connection: is it ours, is it whole, is it of this version; migrations; transactions. */
#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "daemon/store_statement.h"

enum { APPLICATION_ID = 0x62616b61 /* "baka" */ };

static int execute(struct store_conn *c, const char *sql, struct err *err)
{
    errno = 0;
    int rc = sqlite3_exec(c->db, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? 0 : sql_fail(c, rc, sql, err);
}

/* First column of the first row, as integer; and as text when text is given. */
static int query(struct store_conn *c, const char *sql, int64_t *out, char text[256], struct err *err)
{
    sqlite3_stmt *st;
    int rc = sqlite3_prepare_v2(c->db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(st);
        if (rc == SQLITE_ROW) {
            *out = sqlite3_column_int64(st, 0);
            if (text)
                sql_text(st, 0, text, 256);
        }
    }
    int result = rc == SQLITE_ROW ? 0 : sql_fail(c, rc, sql, err);
    sqlite3_finalize(st);
    return result;
}

int store_begin(struct store_conn *c, struct err *err)
{
    /* one that could not be rolled back, for want of memory, is still there */
    if (!sqlite3_get_autocommit(c->db)) {
        int rc = execute(c, "ROLLBACK", err);
        if (rc)
            return rc;
    }
    return execute(c, c->mode == STORE_WRITER ? "BEGIN IMMEDIATE" : "BEGIN", err);
}

int store_commit(struct store_conn *c, struct err *err)
{
    int rc = execute(c, "COMMIT", err);
    if (rc)
        store_rollback(c);
    return rc;
}

void store_rollback(struct store_conn *c)
{
    /* After some failures SQLite has rolled back by itself. */
    if (!sqlite3_get_autocommit(c->db))
        sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

static int migrate(struct store_conn *c, int64_t version, struct err *err)
{
    int rc = 0;
    for (int64_t i = version; i < STORE_MIGRATIONS && !rc; i++) {
        char pragmas[128];
        sqlite3_snprintf(sizeof pragmas, pragmas, "PRAGMA application_id = %d; PRAGMA user_version = %lld",
                         APPLICATION_ID, (long long)i + 1);
        rc = store_begin(c, err);
        if (!rc)
            rc = execute(c, store_migrations[i].text, err);
        if (!rc)
            rc = execute(c, pragmas, err);
        if (rc)
            store_rollback(c);
        else
            rc = store_commit(c, err);
        /* else the log would hold the tables as often as migrations change them */
        if (!rc)
            rc = execute(c, "PRAGMA wal_checkpoint(TRUNCATE)", err);
    }
    return rc;
}

/* Whose file is it, of which version, is it whole? The tables that grow with the steps are left out: their pages are
 * met, and a damaged one told, when they are read. */
static int check(struct store_conn *c, const char *path, int64_t *version, struct err *err)
{
    int64_t application = 0, tables = 0;
    int rc = query(c, "SELECT count(*) FROM sqlite_schema", &tables, NULL, err);
    if (!rc)
        rc = query(c, "PRAGMA application_id", &application, NULL, err);
    if (!rc)
        rc = query(c, "PRAGMA user_version", version, NULL, err);
    if (rc == -ERR_DAMAGED)
        return err_set_at(err, ERR_DAMAGED, path, "%s is not a whole SQLite database: %s", path, sqlite3_errmsg(c->db));
    if (rc)
        return rc;
    if (application != APPLICATION_ID && (tables > 0 || application != 0))
        return err_set_at(err, ERR_CONFLICT, path, "%s is a database of another program", path);
    if (*version > STORE_MIGRATIONS)
        return err_set_at(err, ERR_CONFLICT, path,
                          "%s was written by a newer baka: its schema is version %lld, this baka knows up to %d", path,
                          (long long)*version, STORE_MIGRATIONS);
    static const char *const checked[] = {"runs", "tags", "requests", "attempts", "checkpoints"};
    for (size_t i = 0; *version > 0 && i < sizeof checked / sizeof *checked; i++) {
        char sql[64], text[256];
        int64_t ignored;
        sqlite3_snprintf(sizeof sql, sql, "PRAGMA quick_check(%s)", checked[i]);
        rc = query(c, sql, &ignored, text, err);
        if (rc == -ERR_DAMAGED || (!rc && strcmp(text, "ok") != 0))
            return err_set_at(err, ERR_DAMAGED, path, "%s is damaged (table %s): %s", path, checked[i],
                              rc ? sqlite3_errmsg(c->db) : text);
        if (rc)
            return rc;
    }
    return 0;
}

static int set_up_writer(struct store_conn *c, const char *path, struct err *err)
{
    int64_t version = 0, ignored;
    char mode[256];
    int rc = check(c, path, &version, err);
    if (!rc)
        rc = query(c, "PRAGMA journal_mode = WAL", &ignored, mode, err);
    if (!rc && strcmp(mode, "wal") != 0)
        rc = err_set_at(err, ERR_IO, path, "%s: this file system does not take SQLite's WAL", path);
    if (!rc)
        rc = execute(c,
                     "PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF; PRAGMA wal_autocheckpoint = 2000;"
                     "PRAGMA journal_size_limit = 16777216; PRAGMA temp_store = MEMORY",
                     err);
    if (!rc)
        rc = migrate(c, version, err);
    return rc ? rc : execute(c, "PRAGMA foreign_keys = ON", err); /* not before: a migration may replace a table */
}

int store_conn_open(const char *path, enum store_mode mode, struct store_conn **out, struct err *err)
{
    if (mode == STORE_WRITER) { /* SQLite's own creation would follow the umask; -wal and -shm follow the file */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_set_errno(err, errno, "cannot open %s", path);
        close(fd);
    }
    struct store_conn *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_NO_MEMORY, "out of memory");
    c->mode = mode;
    int flags = SQLITE_OPEN_NOMUTEX | (mode == STORE_WRITER ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY);
    int rc = sqlite3_open_v2(path, &c->db, flags, NULL);
    int result = 0;
    if (rc != SQLITE_OK) {
        result = c->db ? sql_fail(c, rc, path, err) : err_set(err, ERR_NO_MEMORY, "out of memory");
    } else {
        sqlite3_extended_result_codes(c->db, 1);
        sqlite3_busy_timeout(c->db, 5000);
        sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(c->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        if (mode == STORE_WRITER) {
            result = set_up_writer(c, path, err);
        } else {
            sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
            result = execute(c, "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY", err);
        }
    }
    if (result) {
        store_conn_close(c);
        return result;
    }
    *out = c;
    return 0;
}

void store_conn_close(struct store_conn *c)
{
    if (!c)
        return;
    for (int i = 0; i < QUERY_COUNT; i++)
        sqlite3_finalize(c->statements[i]);
    sqlite3_close(c->db);
    free(c->block);
    free(c);
}

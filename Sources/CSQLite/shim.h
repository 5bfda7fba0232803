#include <sqlite3.h>

/* SQLITE_TRANSIENT is a cast that Swift cannot import. A null pointer would bind NULL, not an empty text. */
static inline int cs_bind_text(sqlite3_stmt *statement, int index, const char *text, int count) {
    return sqlite3_bind_text(statement, index, text ? text : "", count, SQLITE_TRANSIENT);
}

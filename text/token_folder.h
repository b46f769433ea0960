/* token_folder.h: the folder of a data set in the making: hidden and locked until it is published by one rename. */
#ifndef BAKA_TEXT_TOKEN_FOLDER_H
#define BAKA_TEXT_TOKEN_FOLDER_H

#include <stdbool.h>

struct err;
struct token_folder;

/* Makes HOME/data/.NAME.new and locks NAME. ERR_BUSY while another process prepares NAME, ERR_CONFLICT when NAME exists
 * and replace is false. Removes what killed preparations of any name left. */
int token_folder_create(const char *home, const char *name, bool replace, struct token_folder **out, struct err *err);
const char *token_folder_path(const struct token_folder *f);
/* Syncs the folder and makes it HOME/data/NAME; a data set that is replaced is removed afterwards, and readers that
 * have it mapped keep it. */
int token_folder_publish(struct token_folder *f, struct err *err);
/* Removes the folder if it was not published, and unlocks; NULL is fine. */
void token_folder_destroy(struct token_folder *f);

#endif

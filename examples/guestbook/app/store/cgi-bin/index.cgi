#!/bin/sh
# The store: GET shows its lines; who has the token may POST a line, or DELETE all but the newest so many (?keep=N).
lines=/data/lines
[ -e $lines ] || : > $lines
answer() { printf 'Status: %s\r\nContent-Type: text/plain\r\n\r\n' "$1"; }
may() { [ "$HTTP_AUTHORIZATION" = "Bearer $(cat /etc/guestbook/token)" ]; }
case $REQUEST_METHOD in
    GET) answer "200 OK"; cat $lines ;;
    POST)
        may || { answer "403 Forbidden"; exit 0; }
        case $QUERY_STRING in
            keep=*[!0-9]*) answer "400 Bad Request" ;;
            keep=*) tail -n "${QUERY_STRING#keep=}" $lines > $lines.new && mv $lines.new $lines; answer "200 OK" ;;
            *) head -c "${CONTENT_LENGTH:-0}" >> $lines; answer "200 OK" ;;
        esac ;;
    *) answer "405 Method Not Allowed" ;;
esac

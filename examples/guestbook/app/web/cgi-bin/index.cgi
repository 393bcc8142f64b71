#!/bin/sh
# The page: GET shows what people wrote, POST writes a line. The store is asked by its name.
# A line for each request goes to the container's log.
echo "$REQUEST_METHOD $REQUEST_URI from $REMOTE_ADDR" >&2
token=$(cat /etc/guestbook/token)
if [ "$REQUEST_METHOD" = POST ]; then
    line=$(head -c "${CONTENT_LENGTH:-0}" | tr -d '\r' | head -n 1 | cut -c 1-200)
    wget -q -O - --header "Authorization: Bearer $token" --post-data "$line
" "http://$STORE/" > /dev/null || { printf 'Status: 503 Service Unavailable\r\n\r\n'; exit 0; }
fi
printf 'Content-Type: text/plain\r\n\r\n'
echo "$(cat /etc/greeting/title) (version $(cat /app/version), told by $(hostname))"
wget -q -O - "http://$STORE/" || echo "the store does not answer"

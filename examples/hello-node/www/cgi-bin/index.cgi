#!/bin/sh
# What the server answers to GET /.
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hello World! from $(hostname)"

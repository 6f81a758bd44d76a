// Command cigogne is the medical image sharing gateway.
package main

func main() {}

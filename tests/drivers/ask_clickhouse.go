// Asks the questions of test_drivers.py with clickhouse-go over HTTP, as Grafana does; prints one line of JSON a round.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type questions struct {
	Count, Row, Many, Types string
	Wrong                   []string
}

func open(port int, token string, method clickhouse.CompressionMethod) *sql.DB {
	settings := clickhouse.Settings{"max_execution_time": 600}
	if method == clickhouse.CompressionGZIP || method == clickhouse.CompressionBrotli {
		settings["enable_http_compression"] = 1
	}
	return clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{fmt.Sprintf("127.0.0.1:%d", port)},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "tokenwire", Username: "default", Password: token},
		Settings:    settings,
		Compression: &clickhouse.Compression{Method: method, Level: 1},
		DialTimeout: 30 * time.Second,
	})
}

func code(err error) int {
	var refused *clickhouse.Exception
	if errors.As(err, &refused) {
		return int(refused.Code)
	}
	return -1
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func asked(ctx context.Context, db *sql.DB, ask questions) map[string]any {
	must(db.PingContext(ctx))
	var count, sum, letters, rows uint64
	must(db.QueryRowContext(ctx, ask.Count, clickhouse.Named("user", "ann")).Scan(&count))
	var turn, accepted string
	var texts []string
	var metadata map[string]string
	must(db.QueryRowContext(ctx, ask.Row).Scan(&turn, &texts, &accepted, &metadata))
	many, err := db.QueryContext(ctx, ask.Many)
	must(err)
	for many.Next() {
		var number uint64
		var text string
		must(many.Scan(&number, &text))
		sum, letters = sum+number, letters+uint64(len(text))
	}
	must(many.Err())
	types, err := db.QueryContext(ctx, ask.Types)
	must(err)
	columns, err := types.Columns()
	must(err)
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(any)
	}
	last := ""
	for types.Next() {
		must(types.Scan(values...))
		last = (*values[len(values)-1].(*any)).(string)
		rows++
	}
	must(types.Err())
	codes := []int{}
	for _, wrong := range ask.Wrong {
		refused, err := db.QueryContext(ctx, wrong)
		if err == nil {
			refused.Close()
		}
		codes = append(codes, code(err))
	}
	return map[string]any{
		"count": count, "row": []any{turn, texts, accepted, metadata}, "many": []uint64{sum, letters},
		"types": []any{rows, last}, "codes": codes,
	}
}

func main() {
	port, err := strconv.Atoi(os.Args[1])
	must(err)
	var ask questions
	must(json.Unmarshal([]byte(os.Args[3]), &ask))
	methods := map[string]clickhouse.CompressionMethod{
		"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD,
		"gzip": clickhouse.CompressionGZIP, "br": clickhouse.CompressionBrotli,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for name, method := range methods {
		said := asked(ctx, open(port, os.Args[2], method), ask)
		said["round"] = name
		said["stranger"] = code(open(port, "another", method).PingContext(ctx))
		line, err := json.Marshal(said)
		must(err)
		fmt.Println(string(line))
	}
}

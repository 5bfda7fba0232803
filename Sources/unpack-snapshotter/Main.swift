internal import Serving

@main
enum Main {
    static func main() {}
}
